"""A scan's history. Scans that are there already begin theirs with the state they have now."""
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

#: One statement, however many scans there are.
BEGIN_HISTORIES = """
    INSERT INTO openscan_scanevent (scan_id, at, event, from_state, to_state, why, actor)
    SELECT id, now(), 'upgrade', '', state, 'The history begins here: an earlier version kept none.', '' FROM openscan_scan
"""


class Migration(migrations.Migration):

    dependencies = [
        ('openscan', '0003_nodes'),
    ]

    operations = [
        migrations.CreateModel(
            name='ScanEvent',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('event', models.CharField(help_text='Name of the transition in lifecycle.py', max_length=16)),
                ('from_state', models.CharField(blank=True, help_text='Empty for a new scan', max_length=12)),
                ('to_state', models.CharField(max_length=12)),
                ('why', models.CharField(blank=True, max_length=500)),
                ('actor', models.CharField(blank=True, help_text='User who caused it; empty for clients and for the program itself', max_length=150)),
                ('scan', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='events', to='openscan.Scan')),
            ],
            options={
                'ordering': ['pk'],
            },
        ),
        migrations.RunSQL(BEGIN_HISTORIES, migrations.RunSQL.noop),
    ]
