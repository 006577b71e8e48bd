"""Empty: the help texts that it changed are not in the database, and now stand where the fields are made. Databases know its name."""
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('tapis', '0005_processing_per_flight'),
    ]

    operations = []
