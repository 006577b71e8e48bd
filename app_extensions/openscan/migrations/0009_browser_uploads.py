"""What the pages need: names of files sent by a browser, requests for credit, and an administrator's hand in the queue."""
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('openscan', '0008_own_words'),
    ]

    operations = [
        migrations.CreateModel(
            name='BrowserUpload',
            fields=[
                ('scan', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='browser_upload', serialize=False, to='openscan.Scan')),
                ('files', models.TextField(help_text='JSON: a list of [path, bytes], one for each part')),
                ('archive', models.CharField(blank=True, help_text='Name of the zip, if the parts are slices of one', max_length=255)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name='CreditRequest',
            fields=[
                ('id', models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('wanted_bytes', models.BigIntegerField()),
                ('reason', models.CharField(blank=True, max_length=500)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('decided_at', models.DateTimeField(blank=True, null=True)),
                ('decided_by', models.CharField(blank=True, max_length=150)),
                ('granted_bytes', models.BigIntegerField(default=0)),
                ('token', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='credit_requests', to='openscan.Token')),
            ],
        ),
        migrations.AddConstraint(
            model_name='creditrequest',
            constraint=models.UniqueConstraint(condition=models.Q(decided_at=None), fields=('token',), name='openscan_one_open_credit_request'),
        ),
        migrations.AddField(
            model_name='token',
            name='self_made',
            field=models.BooleanField(default=False, editable=False, help_text='Its owner created it on the tokens page'),
        ),
        migrations.AddField(
            model_name='scan',
            name='queue_rank',
            field=models.IntegerField(default=0, help_text='Lower numbers go first, whatever the other rules of the queue say'),
        ),
        migrations.AddField(
            model_name='scan',
            name='on_hold',
            field=models.BooleanField(default=False, help_text='Stays in the queue until an administrator releases it'),
        ),
    ]
