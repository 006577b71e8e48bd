"""The OpenScan app's tables."""
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import app_extensions.openscan.models.token
import app_extensions.shared.crypto


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('app', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='OutgoingMail',
            fields=[
                ('id', models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(help_text='What it tells, e.g. “done”', max_length=40)),
                ('state', models.CharField(choices=[('waiting', 'waiting'), ('sent', 'sent'), ('given up', 'given up')], default='waiting', max_length=8)),
                ('payload', app_extensions.shared.crypto.EncryptedTextField(blank=True, editable=False)),
                ('message_id', models.CharField(editable=False, max_length=120)),
                ('attempts', models.IntegerField(default=0)),
                ('next_attempt_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ('last_error', models.CharField(blank=True, max_length=200)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('sent_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['-created_at'],
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='RequestAttempt',
            fields=[
                ('id', models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('client_address', models.CharField(db_index=True, max_length=64)),
                ('created_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name='Token',
            fields=[
                ('id', models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('private', 'private'), ('public', 'public')], default='private', max_length=8)),
                ('prefix', models.CharField(editable=False, help_text="The token's first characters", max_length=6)),
                ('digest', models.CharField(editable=False, max_length=64, unique=True)),
                ('label', models.CharField(blank=True, help_text="What a public token is for, e.g. the site's name", max_length=100)),
                ('forename', models.CharField(blank=True, max_length=100)),
                ('surname', models.CharField(blank=True, max_length=100)),
                ('mail', models.EmailField(blank=True, db_index=True, max_length=254)),
                ('webodm_project_id', models.IntegerField(blank=True, editable=False, null=True)),
                ('limit_filesize_bytes', models.BigIntegerField(default=app_extensions.openscan.models.token.default_limit_filesize)),
                ('limit_photos', models.IntegerField(default=app_extensions.openscan.models.token.default_limit_photos)),
                ('limit_part_bytes', models.BigIntegerField(default=app_extensions.openscan.models.token.default_limit_part)),
                ('credit_bytes', models.BigIntegerField(default=0, editable=False)),
                ('daily_bytes', models.BigIntegerField(default=0, help_text='Public tokens: topped up to this at 00:00 UTC')),
                ('refilled_on', models.DateField(blank=True, editable=False, null=True)),
                ('refilled_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('last_used_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('revoked_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('owner', models.ForeignKey(db_constraint=False, help_text='WebODM user who owns the projects of this token', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='TokenRequest',
            fields=[
                ('id', models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('mail', models.EmailField(help_text='In lower case', max_length=254, unique=True)),
                ('forename', models.CharField(max_length=100)),
                ('surname', models.CharField(max_length=100)),
                ('state', models.CharField(choices=[('pending', 'pending'), ('approved', 'approved'), ('refused', 'refused')], db_index=True, default='pending', max_length=8)),
                ('times_asked', models.IntegerField(default=1)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('last_asked_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('decided_at', models.DateTimeField(blank=True, null=True)),
                ('decided_by', models.CharField(blank=True, max_length=150)),
                ('token', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='requests', to='openscan.Token')),
            ],
        ),
        migrations.CreateModel(
            name='Scan',
            fields=[
                ('id', models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='As the client sent it', max_length=255)),
                ('state', models.CharField(choices=[('created', 'created'), ('initialized', 'initialized'), ('approved', 'approved'), ('released', 'released'), ('done', 'done'), ('failed', 'failed'), ('expired', 'expired'), ('reset', 'reset')], db_index=True, default='created', max_length=12)),
                ('client_address', models.CharField(blank=True, help_text='For public tokens: the client that the name belongs to', max_length=64)),
                ('base_url', models.CharField(blank=True, help_text='The address at which the client reached us; for links in emails', max_length=200)),
                ('research_consent', models.BooleanField(default=False, help_text='Sent with a public token, and so kept for research')),
                ('photos', models.IntegerField(help_text='As declared')),
                ('parts_count', models.IntegerField()),
                ('declared_bytes', models.BigIntegerField()),
                ('received_bytes', models.BigIntegerField(default=0)),
                ('upload_nonce', models.CharField(editable=False, max_length=16)),
                ('links_expire_at', models.DateTimeField()),
                ('charge', models.CharField(choices=[('none', 'none'), ('held', 'held'), ('posted', 'posted'), ('voided', 'voided'), ('refunded', 'refunded')], default='none', max_length=8)),
                ('held_bytes', models.BigIntegerField(default=0, help_text='Credit that is held for this scan and not used yet')),
                ('posted_bytes', models.BigIntegerField(default=0, help_text='Credit that this scan has used')),
                ('webodm_project_id', models.IntegerField(blank=True, null=True)),
                ('webodm_task_id', models.UUIDField(blank=True, db_index=True, null=True)),
                ('error', models.TextField(blank=True, help_text='One sentence for the owner')),
                ('set_aside', models.TextField(blank=True, help_text='Files that were left out and why, one sentence per line')),
                ('images_count', models.IntegerField(default=0, help_text='Number of photos in the WebODM task')),
                ('ingest_attempts', models.IntegerField(default=0, help_text='Number of times that ingest has begun; more than one after a crash')),
                ('finish_attempts', models.IntegerField(default=0, help_text='Number of failures to pack the result since the last success')),
                ('retry_at', models.DateTimeField(blank=True, help_text='There is no automatic attempt before this time', null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('approved_at', models.DateTimeField(blank=True, null=True)),
                ('released_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('expired_at', models.DateTimeField(blank=True, null=True)),
                ('reset_at', models.DateTimeField(blank=True, null=True)),
                ('result_file', models.CharField(blank=True, help_text="Relative to the results' directory", max_length=200)),
                ('result_bytes', models.BigIntegerField(default=0)),
                ('result_link', models.CharField(blank=True, db_index=True, max_length=64)),
                ('result_expires_at', models.DateTimeField(blank=True, null=True)),
                ('result_source', models.CharField(blank=True, editable=False, help_text='Fingerprint of the files the result was packed from', max_length=64)),
                ('processing_seconds', models.FloatField(blank=True, null=True)),
                ('token', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='scans', to='openscan.Token')),
            ],
        ),
        migrations.CreateModel(
            name='Part',
            fields=[
                ('id', models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.IntegerField(help_text='From 1, in the order of the links')),
                ('size_bytes', models.BigIntegerField(blank=True, null=True)),
                ('file_name', models.CharField(blank=True, max_length=80)),
                ('received_at', models.DateTimeField(blank=True, null=True)),
                ('scan', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='parts', to='openscan.Scan')),
            ],
            options={
                'ordering': ['number'],
            },
        ),
        migrations.CreateModel(
            name='LedgerEntry',
            fields=[
                ('id', models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('grant', 'grant'), ('refill', 'refill'), ('hold', 'hold'), ('post', 'post'), ('void', 'void'), ('refund', 'refund')], max_length=8)),
                ('amount_bytes', models.BigIntegerField()),
                ('balance_bytes', models.BigIntegerField(help_text="The token's credit after this entry")),
                ('key', models.CharField(max_length=80, unique=True)),
                ('note', models.CharField(blank=True, max_length=200)),
                ('actor', models.CharField(blank=True, help_text='User who caused it; empty for the program itself', max_length=150)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('scan', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='openscan.Scan')),
                ('token', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='openscan.Token')),
            ],
            options={
                'verbose_name_plural': 'ledger entries',
            },
        ),
        migrations.AddConstraint(
            model_name='token',
            constraint=models.CheckConstraint(check=models.Q(credit_bytes__gte=0), name='openscan_token_credit_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='token',
            constraint=models.CheckConstraint(check=models.Q(daily_bytes__gte=0), name='openscan_token_daily_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='token',
            constraint=models.CheckConstraint(check=models.Q(('limit_filesize_bytes__gt', 0), ('limit_part_bytes__gt', 0), ('limit_photos__gt', 0)), name='openscan_token_limits_positive'),
        ),
        migrations.AddIndex(
            model_name='scan',
            index=models.Index(fields=['state', 'started_at'], name='openscan_scan_queue'),
        ),
        migrations.AddConstraint(
            model_name='scan',
            constraint=models.UniqueConstraint(condition=models.Q(_negated=True, state='reset'), fields=('token', 'name'), name='openscan_scan_name'),
        ),
        migrations.AddConstraint(
            model_name='scan',
            constraint=models.CheckConstraint(check=models.Q(('declared_bytes__gt', 0), ('held_bytes__gte', 0), ('parts_count__gt', 0), ('photos__gt', 0), ('posted_bytes__gte', 0), ('received_bytes__gte', 0)), name='openscan_scan_numbers'),
        ),
        migrations.AddConstraint(
            model_name='part',
            constraint=models.UniqueConstraint(fields=('scan', 'number'), name='openscan_part_number'),
        ),
        migrations.AddConstraint(
            model_name='ledgerentry',
            constraint=models.CheckConstraint(check=models.Q(balance_bytes__gte=0), name='openscan_ledger_balance_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='ledgerentry',
            constraint=models.UniqueConstraint(condition=models.Q(kind__in=['post', 'void']), fields=('scan',), name='openscan_ledger_hold_ends_once'),
        ),
    ]
