"""Empty: the help texts that it changed are not in the database, and now stand where the fields are made. Databases know its name."""
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('openscan', '0012_large_sites'),
    ]

    operations = []
