"""Token requests know when the admins were told and what became of the token's email."""
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('openscan', '0006_daily_rule'),
    ]

    operations = [
        migrations.AddField('tokenrequest', 'told_at', models.DateTimeField(
            blank=True, editable=False, help_text='When administrators were told about it', null=True)),
        migrations.AddField('tokenrequest', 'token_mail', models.ForeignKey(
            blank=True, editable=False, help_text='The email with the token', null=True, on_delete=django.db.models.deletion.SET_NULL,
            related_name='token_requests', to='openscan.OutgoingMail')),
    ]
