"""Indexes for the periodic jobs, which look for a few rows among all scans that have ended."""
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):

    dependencies = [
        ('openscan', '0010_part_sequence'),
    ]

    operations = [migrations.AddIndex(model_name='scan', index=index) for index in (
        models.Index(condition=Q(state__in=['released', 'approved']), fields=['id'], name='openscan_scan_moving'),
        models.Index(condition=Q(discarded_at=None, state='reset'), fields=['reset_at'], name='openscan_scan_discard'),
        models.Index(condition=Q(released_at=None, state='failed'), fields=['finished_at'], name='openscan_scan_refused'),
        models.Index(condition=Q(state='done'), fields=['result_expires_at'], name='openscan_scan_expires'),
        models.Index(condition=~Q(client_address='') & ~Q(client_address__startswith='was:'), fields=['state'], name='openscan_scan_address'),
        models.Index(condition=Q(state='reset') & ~Q(client_address=''), fields=['reset_at'], name='openscan_scan_forget'),
    )]
