"""A public token serves everybody: clients' days, first bytes, parts as they arrive, 64-bit part ids, top-ups that still stand."""
import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F


def drop_rows_of_missing_parts(apps, schema_editor):
    """Earlier versions wrote a row for each announced part; now there is one for each part that came."""
    apps.get_model('openscan', 'Part').objects.filter(size_bytes=None).delete()


def note_first_bytes(apps, schema_editor):
    """Uploads that are under way keep their credit."""
    scans = apps.get_model('openscan', 'Scan').objects
    scans.filter(state='created', received_bytes__gt=0).update(first_byte_at=F('created_at'))


class Migration(migrations.Migration):

    dependencies = [
        ('openscan', '0004_scan_events'),
    ]

    operations = [
        migrations.RunPython(drop_rows_of_missing_parts, migrations.RunPython.noop),
        migrations.AlterField(
            model_name='part',
            name='id',
            field=models.BigAutoField(primary_key=True, serialize=False),
        ),
        migrations.AlterField(
            model_name='part',
            name='size_bytes',
            field=models.BigIntegerField(),
        ),
        migrations.AlterField(
            model_name='part',
            name='file_name',
            field=models.CharField(max_length=80),
        ),
        migrations.AlterField(
            model_name='part',
            name='received_at',
            field=models.DateTimeField(),
        ),
        migrations.AddField(
            model_name='scan',
            name='first_byte_at',
            field=models.DateTimeField(blank=True, help_text='When the first byte of a part arrived', null=True),
        ),
        migrations.AddField(
            model_name='scan',
            name='discarded_at',
            field=models.DateTimeField(blank=True, help_text='When the remains of a reset were removed', null=True),
        ),
        migrations.RunPython(note_first_bytes, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name='scan',
            index=models.Index(condition=models.Q(state__in=['created', 'initialized']), fields=['token', 'client_address'], name='openscan_scan_open'),
        ),
        migrations.AddIndex(
            model_name='scan',
            index=models.Index(condition=models.Q(_negated=True, result_file=''), fields=['result_file'], name='openscan_scan_result'),
        ),
        migrations.AddIndex(
            model_name='scan',
            index=models.Index(condition=models.Q(processing_seconds__gt=0), fields=['-finished_at'], name='openscan_scan_pace'),
        ),
        migrations.AlterField(
            model_name='ledgerentry',
            name='kind',
            field=models.CharField(choices=[('grant', 'grant'), ('refill', 'refill'), ('hold', 'hold'), ('post', 'post'), ('void', 'void'), ('refund', 'refund'), ('opening', 'opening')], max_length=8),
        ),
        migrations.CreateModel(
            name='Refill',
            fields=[
                ('id', models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('standing_bytes', models.BigIntegerField()),
                ('entry', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='refill', to='openscan.LedgerEntry')),
                ('token', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='refills', to='openscan.Token')),
            ],
        ),
        migrations.AddConstraint(
            model_name='refill',
            constraint=models.CheckConstraint(check=models.Q(standing_bytes__gte=0), name='openscan_refill_not_negative'),
        ),
        migrations.CreateModel(
            name='ClientDay',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('day', models.DateField(db_index=True)),
                ('client', models.CharField(max_length=32)),
                ('calls', models.IntegerField(default=0, help_text='Calls of createProject')),
                ('refusals', models.IntegerField(default=0, help_text='Sets that were refused during ingest')),
                ('used_bytes', models.BigIntegerField(default=0, help_text="Credit that this client's sets have used")),
                ('token', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='client_days', to='openscan.Token')),
            ],
        ),
        migrations.AddConstraint(
            model_name='clientday',
            constraint=models.UniqueConstraint(fields=('token', 'day', 'client'), name='openscan_client_day'),
        ),
    ]
