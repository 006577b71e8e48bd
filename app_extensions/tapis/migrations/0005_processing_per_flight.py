import django.contrib.postgres.fields.jsonb
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('tapis', '0004_flight_previews'),
    ]

    operations = [
        migrations.AddField(
            model_name='flight',
            name='processing',
            field=django.contrib.postgres.fields.jsonb.JSONField(
                blank=True, default=dict,
                help_text="Choices made at the import: process, preset, node. The user's preferences apply to the rest."),
        ),
    ]
