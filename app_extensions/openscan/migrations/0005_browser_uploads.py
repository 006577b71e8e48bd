"""The names of the files that a browser sends as parts."""
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('openscan', '0003_nodes'),
    ]

    operations = [
        migrations.CreateModel(
            name='BrowserUpload',
            fields=[
                ('scan', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='browser_upload', serialize=False, to='openscan.Scan')),
                ('files', models.TextField(help_text='JSON: a list of [path, bytes], one a part')),
                ('archive', models.CharField(blank=True, help_text='The name of the one zip whose slices the parts are', max_length=255)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
    ]
