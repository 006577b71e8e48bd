"""Makes the column `openscan_part.id` own its sequence.

When a column becomes a BigAutoField (0005), Django 2.2 creates a new sequence that no column owns. It survived a purge; the next
installation then had two, and a backup named one that a fresh database does not have.
"""
from django.db import migrations

SEQUENCE = "openscan_part_id_seq"
OTHERS = """
SELECT sequence.oid::regclass::text FROM pg_depend JOIN pg_class sequence ON sequence.oid = pg_depend.objid
WHERE sequence.relkind = 'S' AND pg_depend.deptype = 'a' AND pg_depend.refobjid = 'openscan_part'::regclass AND sequence.relname <> %s
"""


def own(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(OTHERS, [SEQUENCE])
        for (name,) in cursor.fetchall():
            cursor.execute(f"DROP SEQUENCE {name}")
        cursor.execute(f"ALTER SEQUENCE {SEQUENCE} OWNED BY openscan_part.id")


class Migration(migrations.Migration):

    dependencies = [
        ('openscan', '0009_browser_uploads'),
    ]

    operations = [
        migrations.RunPython(own, migrations.RunPython.noop),
    ]
