"""Plainer help texts; the tables stay as they are."""
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('openscan', '0012_large_sites'),
    ]

    operations = [
        migrations.AlterField(
            model_name='archivedset',
            name='attempts',
            field=models.IntegerField(default=0, help_text='Failures since the last success'),
        ),
        migrations.AlterField(
            model_name='archivedset',
            name='failures',
            field=models.IntegerField(default=0, help_text='Total number of failures'),
        ),
        migrations.AlterField(
            model_name='archivedset',
            name='files',
            field=models.IntegerField(default=0, help_text='Number of photos and model files'),
        ),
        migrations.AlterField(
            model_name='archivedset',
            name='problem',
            field=models.CharField(blank=True, help_text='The last failure; empty after a success', max_length=300),
        ),
        migrations.AlterField(
            model_name='archivedset',
            name='retry_at',
            field=models.DateTimeField(blank=True, help_text='There is no automatic attempt before this time', null=True),
        ),
        migrations.AlterField(
            model_name='archivedset',
            name='sent_bytes',
            field=models.BigIntegerField(default=0, help_text='Bytes sent for it, including repeated ones'),
        ),
        migrations.AlterField(
            model_name='browserupload',
            name='archive',
            field=models.CharField(blank=True, help_text='Name of the zip, if the parts are slices of one', max_length=255),
        ),
        migrations.AlterField(
            model_name='browserupload',
            name='files',
            field=models.TextField(help_text='JSON: a list of [path, bytes], one for each part'),
        ),
        migrations.AlterField(
            model_name='clientday',
            name='calls',
            field=models.IntegerField(default=0, help_text='Calls of createProject'),
        ),
        migrations.AlterField(
            model_name='clientday',
            name='refusals',
            field=models.IntegerField(default=0, help_text='Sets that were refused during ingest'),
        ),
        migrations.AlterField(
            model_name='clientday',
            name='used_bytes',
            field=models.BigIntegerField(default=0, help_text="Credit that this client's sets have used"),
        ),
        migrations.AlterField(
            model_name='ledgerentry',
            name='actor',
            field=models.CharField(blank=True, help_text='User who caused it; empty for the program itself', max_length=150),
        ),
        migrations.AlterField(
            model_name='noderecord',
            name='is_cluster',
            field=models.BooleanField(default=False, help_text='A ClusterODM, which has several nodes behind one address'),
        ),
        migrations.AlterField(
            model_name='noderecord',
            name='parallel',
            field=models.IntegerField(blank=True, help_text='Number of tasks it processes at once, as it reports; empty if unknown', null=True),
        ),
        migrations.AlterField(
            model_name='noderecord',
            name='rests_until',
            field=models.DateTimeField(blank=True, help_text='It gets no scan before this time', null=True),
        ),
        migrations.AlterField(
            model_name='noderecord',
            name='troubles',
            field=models.IntegerField(default=0, help_text='Number of scans that were moved away from it'),
        ),
        migrations.AlterField(
            model_name='nodewatch',
            name='answer',
            field=models.CharField(help_text='Also changes when the node answers about it', max_length=220),
        ),
        migrations.AlterField(
            model_name='nodewatch',
            name='progress',
            field=models.CharField(help_text='Changes when the task makes progress', max_length=200),
        ),
        migrations.AlterField(
            model_name='scan',
            name='base_url',
            field=models.CharField(blank=True, help_text='The address at which the client reached us; for links in emails', max_length=200),
        ),
        migrations.AlterField(
            model_name='scan',
            name='client_address',
            field=models.CharField(blank=True, help_text='For public tokens: the client that the name belongs to', max_length=64),
        ),
        migrations.AlterField(
            model_name='scan',
            name='discarded_at',
            field=models.DateTimeField(blank=True, help_text='When the remains of a reset were removed', null=True),
        ),
        migrations.AlterField(
            model_name='scan',
            name='finish_attempts',
            field=models.IntegerField(default=0, help_text='Number of failures to pack the result since the last success'),
        ),
        migrations.AlterField(
            model_name='scan',
            name='first_byte_at',
            field=models.DateTimeField(blank=True, help_text='When the first byte of a part arrived', null=True),
        ),
        migrations.AlterField(
            model_name='scan',
            name='held_bytes',
            field=models.BigIntegerField(default=0, help_text='Credit that is held for this scan and not used yet'),
        ),
        migrations.AlterField(
            model_name='scan',
            name='images_count',
            field=models.IntegerField(default=0, help_text='Number of photos in the WebODM task'),
        ),
        migrations.AlterField(
            model_name='scan',
            name='ingest_attempts',
            field=models.IntegerField(default=0, help_text='Number of times that ingest has begun; more than one after a crash'),
        ),
        migrations.AlterField(
            model_name='scan',
            name='moves',
            field=models.IntegerField(default=0, help_text='Number of times that it was moved away from a processing node that failed'),
        ),
        migrations.AlterField(
            model_name='scan',
            name='node_notes',
            field=models.TextField(blank=True, help_text='What happened on processing nodes, one line for each event'),
        ),
        migrations.AlterField(
            model_name='scan',
            name='on_hold',
            field=models.BooleanField(default=False, help_text='Stays in the queue until an administrator releases it'),
        ),
        migrations.AlterField(
            model_name='scan',
            name='posted_bytes',
            field=models.BigIntegerField(default=0, help_text='Credit that this scan has used'),
        ),
        migrations.AlterField(
            model_name='scan',
            name='queue_rank',
            field=models.IntegerField(default=0, help_text='Lower numbers go first, whatever the other rules of the queue say'),
        ),
        migrations.AlterField(
            model_name='scan',
            name='research_consent',
            field=models.BooleanField(default=False, help_text='Sent with a public token, and so kept for research'),
        ),
        migrations.AlterField(
            model_name='scan',
            name='result_object',
            field=models.CharField(blank=True, help_text='Key in object storage, if it was published there', max_length=300),
        ),
        migrations.AlterField(
            model_name='scan',
            name='retry_at',
            field=models.DateTimeField(blank=True, help_text='There is no automatic attempt before this time', null=True),
        ),
        migrations.AlterField(
            model_name='scan',
            name='set_aside',
            field=models.TextField(blank=True, help_text='Files that were left out and why, one sentence per line'),
        ),
        migrations.AlterField(
            model_name='scan',
            name='tried_nodes',
            field=models.CharField(blank=True, editable=False, help_text='Ids of these nodes, separated by commas', max_length=200),
        ),
        migrations.AlterField(
            model_name='scanevent',
            name='actor',
            field=models.CharField(blank=True, help_text='User who caused it; empty for clients and for the program itself', max_length=150),
        ),
        migrations.AlterField(
            model_name='scanevent',
            name='from_state',
            field=models.CharField(blank=True, help_text='Empty for a new scan', max_length=12),
        ),
        migrations.AlterField(
            model_name='storedobject',
            name='attempts',
            field=models.IntegerField(default=0, help_text='Failures since the last success'),
        ),
        migrations.AlterField(
            model_name='storedobject',
            name='etag',
            field=models.CharField(blank=True, help_text="The object storage's entity tag, without quotes", max_length=100),
        ),
        migrations.AlterField(
            model_name='storedobject',
            name='failures',
            field=models.IntegerField(default=0, help_text='Total number of failures'),
        ),
        migrations.AlterField(
            model_name='storedobject',
            name='problem',
            field=models.CharField(blank=True, help_text='The last failure; empty after a success', max_length=300),
        ),
        migrations.AlterField(
            model_name='storedobject',
            name='retry_at',
            field=models.DateTimeField(blank=True, help_text='There is no automatic attempt before this time', null=True),
        ),
        migrations.AlterField(
            model_name='storedobject',
            name='sent_bytes',
            field=models.BigIntegerField(default=0, help_text='Bytes sent for it, including repeated ones'),
        ),
        migrations.AlterField(
            model_name='token',
            name='self_made',
            field=models.BooleanField(default=False, editable=False, help_text='Its owner created it on the tokens page'),
        ),
        migrations.AlterField(
            model_name='tokenrequest',
            name='told_at',
            field=models.DateTimeField(blank=True, editable=False, help_text='When administrators were told about it', null=True),
        ),
    ]
