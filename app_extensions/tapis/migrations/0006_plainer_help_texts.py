"""Changed help texts once. They now stand where the fields are made, since they never reach the database; only the name is kept."""
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('tapis', '0005_processing_per_flight'),
    ]

    operations = []
