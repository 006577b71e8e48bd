"""Plainer help texts; the tables stay as they are."""
import django.contrib.postgres.fields.jsonb
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import app_extensions.shared.crypto


class Migration(migrations.Migration):

    dependencies = [
        ('tapis', '0005_processing_per_flight'),
    ]

    operations = [
        migrations.AlterField(
            model_name='discoverysystem',
            name='cursor',
            field=models.CharField(blank=True, default='', help_text='Directories up to this name have been read.', max_length=255),
        ),
        migrations.AlterField(
            model_name='discoverysystem',
            name='offset',
            field=models.IntegerField(default=0, help_text='Number of entries of the root directory before the current page.'),
        ),
        migrations.AlterField(
            model_name='discoverysystem',
            name='unread',
            field=models.IntegerField(default=0, help_text='Number of directories that could not be read.'),
        ),
        migrations.AlterField(
            model_name='flight',
            name='base_url',
            field=models.CharField(help_text="The tenant's address, since system ids are unique only within a tenant.", max_length=255),
        ),
        migrations.AlterField(
            model_name='flight',
            name='image_count',
            field=models.IntegerField(default=0, help_text='Number of images at the last discovery.'),
        ),
        migrations.AlterField(
            model_name='flight',
            name='name',
            field=models.CharField(help_text="Name of the flight's directory on Tapis.", max_length=255),
        ),
        migrations.AlterField(
            model_name='flight',
            name='processing',
            field=django.contrib.postgres.fields.jsonb.JSONField(blank=True, default=dict, help_text="Choices made at the import: process, preset, node. The user's preferences apply to the rest."),
        ),
        migrations.AlterField(
            model_name='flight',
            name='synced_at',
            field=models.DateTimeField(blank=True, help_text='When all images were last here.', null=True),
        ),
        migrations.AlterField(
            model_name='flightfile',
            name='bytes_here',
            field=models.BigIntegerField(default=0, help_text="Bytes on this server's disk."),
        ),
        migrations.AlterField(
            model_name='flightfile',
            name='is_link',
            field=models.BooleanField(default=False, help_text='A symbolic link, whose size is not that of the image.'),
        ),
        migrations.AlterField(
            model_name='flightfile',
            name='last_modified',
            field=models.CharField(blank=True, default='', help_text="In Tapis's own format.", max_length=64),
        ),
        migrations.AlterField(
            model_name='flightfile',
            name='local_key',
            field=models.CharField(help_text='The local name in lower case.', max_length=255),
        ),
        migrations.AlterField(
            model_name='flightfile',
            name='local_name',
            field=models.CharField(help_text="Name in the task's directory.", max_length=255),
        ),
        migrations.AlterField(
            model_name='flightfile',
            name='name',
            field=models.CharField(help_text='Name on Tapis.', max_length=255),
        ),
        migrations.AlterField(
            model_name='flightfile',
            name='size',
            field=models.BigIntegerField(help_text='Bytes, as listed; for a symbolic link, its own length.'),
        ),
        migrations.AlterField(
            model_name='flightpreview',
            name='attempts',
            field=models.IntegerField(default=0, help_text='Number of attempts by workers since it was requested.'),
        ),
        migrations.AlterField(
            model_name='flightpreview',
            name='ended_at',
            field=models.DateTimeField(blank=True, help_text='When it was fetched or failed.', null=True),
        ),
        migrations.AlterField(
            model_name='flightpreview',
            name='used_at',
            field=models.DateTimeField(db_index=True, default=django.utils.timezone.now, help_text='The day on which somebody last looked at it.'),
        ),
        migrations.AlterField(
            model_name='previewimage',
            name='taken_at',
            field=models.CharField(blank=True, default='', help_text="The camera's time, ISO 8601 without a time zone.", max_length=19),
        ),
        migrations.AlterField(
            model_name='previewimage',
            name='thumbnail',
            field=models.BinaryField(blank=True, default=b'', help_text='A JPEG; may be empty.'),
        ),
        migrations.AlterField(
            model_name='tapisjob',
            name='automatic',
            field=models.BooleanField(default=False, help_text='Started by a login or the scheduler, not by a request.'),
        ),
        migrations.AlterField(
            model_name='tapisjob',
            name='bytes_done',
            field=models.BigIntegerField(default=0, help_text='Bytes of images that are here, whether this job fetched them or not.'),
        ),
        migrations.AlterField(
            model_name='tapisjob',
            name='connections',
            field=models.IntegerField(default=0, help_text='Number of simultaneous downloads that Tapis allowed recently; 0 if not known.'),
        ),
        migrations.AlterField(
            model_name='tapisjob',
            name='due_at',
            field=models.DateTimeField(default=django.utils.timezone.now, help_text='No worker takes it before this time.'),
        ),
        migrations.AlterField(
            model_name='tapisjob',
            name='moved_at',
            field=models.DateTimeField(blank=True, help_text='When it last made progress.', null=True),
        ),
        migrations.AlterField(
            model_name='tapisjob',
            name='note',
            field=models.CharField(blank=True, default='', help_text='What an unfinished job waits for.', max_length=300),
        ),
        migrations.AlterField(
            model_name='tapisjob',
            name='process',
            field=models.NullBooleanField(help_text="Process the flight when it is complete; empty: follow the user's preferences."),
        ),
        migrations.AlterField(
            model_name='tapisjob',
            name='purpose',
            field=models.CharField(blank=True, default='', help_text='What a discovery or a job for previews is for; each user has at most one of each.', max_length=80),
        ),
        migrations.AlterField(
            model_name='tapisjob',
            name='request',
            field=django.contrib.postgres.fields.jsonb.JSONField(blank=True, default=dict, help_text='What was requested: systems, flights.'),
        ),
        migrations.AlterField(
            model_name='tapisjob',
            name='to_tell',
            field=models.BooleanField(default=False, help_text='Its user has not been told yet that it has ended.'),
        ),
        migrations.AlterField(
            model_name='tapisjob',
            name='unchanged_since',
            field=models.DateTimeField(blank=True, help_text='Time since which the listing has not changed.', null=True),
        ),
        migrations.AlterField(
            model_name='tapisoauth2state',
            name='origin',
            field=models.CharField(blank=True, db_index=True, default='', help_text="A keyed hash of the client's address.", max_length=64),
        ),
        migrations.AlterField(
            model_name='tapisoauth2state',
            name='pending_tokens',
            field=app_extensions.shared.crypto.EncryptedTextField(blank=True, default='', help_text='Tokens of a verified login that waits until the person has chosen an account.'),
        ),
        migrations.AlterField(
            model_name='tapisoauth2state',
            name='user',
            field=models.ForeignKey(blank=True, db_constraint=False, help_text='The user who was signed in to WebODM when the login began.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='tapis_states', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AlterField(
            model_name='tapisoauth2token',
            name='expires_at',
            field=models.DateTimeField(help_text='When the access token expires.'),
        ),
        migrations.AlterField(
            model_name='tapisoauth2token',
            name='refresh_expires_at',
            field=models.DateTimeField(blank=True, help_text='When the refresh token expires.', null=True),
        ),
        migrations.AlterField(
            model_name='tapisoauth2token',
            name='refresher',
            field=models.CharField(blank=True, default='', help_text='The process that is refreshing it now.', max_length=36),
        ),
    ]
