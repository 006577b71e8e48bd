"""Errors of nodes are told in our own words, and requests that the admins were mailed about count as told."""
from django.db import migrations
from django.db.models import F

from app_extensions.host.faults import explain, for_admins

_PREFIX = "Processing failed: "


def count_as_told(apps, schema_editor):
    """Earlier versions mailed each request at once."""
    apps.get_model('openscan', 'TokenRequest').objects.update(told_at=F('created_at'))


def use_our_own_words(apps, schema_editor):
    """Earlier versions kept what the node said, perhaps with its token, where clients read it."""
    Scan = apps.get_model('openscan', 'Scan')
    Event = apps.get_model('openscan', 'ScanEvent')
    for scan in Scan.objects.filter(error__startswith=_PREFIX).iterator():
        said = scan.error[len(_PREFIX):]
        scan.error = _PREFIX + explain(said)
        scan.node_notes = '\n'.join(filter(None, [scan.node_notes, for_admins(said)]))
        scan.save(update_fields=['error', 'node_notes'])
    for event in Event.objects.filter(why__startswith=_PREFIX).iterator():
        event.why = (_PREFIX + explain(event.why[len(_PREFIX):]))[:500]
        event.save(update_fields=['why'])


class Migration(migrations.Migration):

    dependencies = [
        ('openscan', '0007_people'),
    ]

    operations = [
        migrations.RunPython(count_as_told, migrations.RunPython.noop),
        migrations.RunPython(use_our_own_words, migrations.RunPython.noop),
    ]
