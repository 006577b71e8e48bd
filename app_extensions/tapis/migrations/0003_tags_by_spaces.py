"""Projects of flights get their tags in WebODM's own form: separated by spaces, not by commas."""
from django.db import migrations

TABLE, COLUMN = "app_project", "tags"


def _safe(text):
    """As ``host.projects.safe_tag``, frozen here."""
    joined = "_".join(text.replace(",", " ").replace("#", "_").split())
    return "_" + joined[1:] if joined.startswith(".") else joined


def _former(text):
    """How the version before wrote a name as a tag."""
    return " ".join(text.replace(",", "_").split())


def write_spaces(apps, schema_editor):
    """Rewrite what we wrote, keep what people added. Repeatable."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        if TABLE not in connection.introspection.table_names(cursor):
            return  # WebODM's own migrations come later on a fresh database, where there is nothing to rewrite
        if COLUMN not in {each.name for each in connection.introspection.get_table_description(cursor, TABLE)}:
            return
    for flight in apps.get_model("tapis", "Flight").objects.exclude(project_id=None).iterator():
        former = ",".join(["tapis", "flight", _former(flight.system_id), _former(flight.name)])
        wanted = " ".join(["tapis", "flight", _safe(flight.system_id), _safe(flight.name)])
        with connection.cursor() as cursor:
            cursor.execute("SELECT tags FROM app_project WHERE id = %s", [flight.project_id])
            row = cursor.fetchone()
            if row and row[0] and row[0].startswith(former):
                cursor.execute("UPDATE app_project SET tags = %s WHERE id = %s", [wanted + row[0][len(former):], flight.project_id])


class Migration(migrations.Migration):

    dependencies = [("tapis", "0002_work_is_rows"), ("app", "0001_initial")]

    operations = [migrations.RunPython(write_spaces, migrations.RunPython.noop)]
