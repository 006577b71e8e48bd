"""Results in object storage, and public sets archived there."""
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('openscan', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='scan',
            name='result_object',
            field=models.CharField(blank=True, help_text='Key in object storage, if it was published there', max_length=300),
        ),
        migrations.CreateModel(
            name='StoredObject',
            fields=[
                ('id', models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(
                    choices=[('writing', 'writing'), ('stored', 'stored'), ('leaving', 'leaving'), ('gone', 'gone')],
                    db_index=True, default='writing', max_length=8)),
                ('place', models.CharField(help_text='Endpoint and bucket', max_length=300)),
                ('source', models.CharField(blank=True, editable=False, help_text='What it was made from', max_length=240)),
                ('size_bytes', models.BigIntegerField(default=0)),
                ('sent_bytes', models.BigIntegerField(default=0, help_text='Bytes sent for it, including repeated ones')),
                ('attempts', models.IntegerField(default=0, help_text='Failures since the last success')),
                ('failures', models.IntegerField(default=0, help_text='Total number of failures')),
                ('problem', models.CharField(blank=True, help_text='The last failure; empty after a success', max_length=300)),
                ('failed_at', models.DateTimeField(blank=True, null=True)),
                ('retry_at', models.DateTimeField(blank=True, help_text='There is no automatic attempt before this time', null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('stored_at', models.DateTimeField(blank=True, null=True)),
                ('gone_at', models.DateTimeField(blank=True, null=True)),
                ('key', models.CharField(max_length=300, unique=True)),
                ('sha256', models.CharField(blank=True, max_length=64)),
                ('etag', models.CharField(blank=True, help_text="The object storage's entity tag, without quotes", max_length=100)),
                ('scan', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='stored_objects', to='openscan.Scan')),
            ],
            options={
                'verbose_name': 'result in object storage',
                'verbose_name_plural': 'results in object storage',
            },
        ),
        migrations.CreateModel(
            name='ArchivedSet',
            fields=[
                ('id', models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(
                    choices=[('writing', 'writing'), ('stored', 'stored'), ('leaving', 'leaving'), ('gone', 'gone')],
                    db_index=True, default='writing', max_length=8)),
                ('place', models.CharField(help_text='Endpoint and bucket', max_length=300)),
                ('source', models.CharField(blank=True, editable=False, help_text='What it was made from', max_length=240)),
                ('size_bytes', models.BigIntegerField(default=0)),
                ('sent_bytes', models.BigIntegerField(default=0, help_text='Bytes sent for it, including repeated ones')),
                ('attempts', models.IntegerField(default=0, help_text='Failures since the last success')),
                ('failures', models.IntegerField(default=0, help_text='Total number of failures')),
                ('problem', models.CharField(blank=True, help_text='The last failure; empty after a success', max_length=300)),
                ('failed_at', models.DateTimeField(blank=True, null=True)),
                ('retry_at', models.DateTimeField(blank=True, help_text='There is no automatic attempt before this time', null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('stored_at', models.DateTimeField(blank=True, null=True)),
                ('gone_at', models.DateTimeField(blank=True, null=True)),
                ('prefix', models.CharField(max_length=300, unique=True)),
                ('files', models.IntegerField(default=0, help_text='Number of photos and model files')),
                ('scan', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='archived_set', to='openscan.Scan')),
            ],
            options={
                'verbose_name': 'set archived for research',
                'verbose_name_plural': 'sets archived for research',
            },
        ),
        migrations.AddConstraint(
            model_name='storedobject',
            constraint=models.UniqueConstraint(
                condition=models.Q(state='stored'), fields=('scan',), name='openscan_object_one_stored'),
        ),
    ]
