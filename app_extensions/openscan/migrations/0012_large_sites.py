"""Indexes for sites with 10,000 tokens, and one that lets the database see at once that no address is left to forget.

Two of them are SQL: Django 2.2 cannot say where missing times go, and it doubles the percent sign of a condition with ``startswith``, so
that PostgreSQL never used the index of 0011. ``was:`` is addresses.FINGERPRINT.
"""
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):

    dependencies = [
        ('openscan', '0011_periodic_indexes'),
    ]

    operations = [
        migrations.RemoveIndex(model_name='scan', name='openscan_scan_address'),
        migrations.RunSQL(
            """CREATE INDEX openscan_scan_addressed ON openscan_scan (id)
            WHERE state IN ('done', 'failed', 'expired') AND client_address <> '' AND client_address::text NOT LIKE 'was:%'""",
            'DROP INDEX openscan_scan_addressed'),
        migrations.AddIndex(model_name='token', index=models.Index(condition=Q(kind='public'), fields=['id'], name='openscan_token_public')),
        migrations.AddIndex(model_name='token', index=models.Index(condition=Q(daily_bytes__gt=0), fields=['id'], name='openscan_token_daily')),
        # The order of overview._with_counts.
        migrations.RunSQL(
            'CREATE INDEX openscan_token_shown ON openscan_token (revoked_at NULLS FIRST, last_used_at DESC NULLS LAST, id DESC)',
            'DROP INDEX openscan_token_shown'),
    ]
