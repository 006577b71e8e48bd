"""What is known of processing nodes, and what happened to scans on them."""
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('openscan', '0002_object_storage'),
    ]

    operations = [
        migrations.CreateModel(
            name='NodeRecord',
            fields=[
                ('id', models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('node_id', models.IntegerField(unique=True)),
                ('is_cluster', models.BooleanField(default=False, help_text='A ClusterODM, which has several nodes behind one address')),
                ('parallel', models.IntegerField(blank=True, help_text='Number of tasks it processes at once, as it reports; empty if unknown', null=True)),
                ('asked_at', models.DateTimeField(blank=True, null=True)),
                ('troubles', models.IntegerField(default=0, help_text='Number of scans that were moved away from it')),
                ('last_trouble', models.CharField(blank=True, max_length=200)),
                ('rests_until', models.DateTimeField(blank=True, help_text='It gets no scan before this time', null=True)),
            ],
        ),
        migrations.AddField(
            model_name='scan',
            name='moves',
            field=models.IntegerField(default=0, help_text='Number of times that it was moved away from a processing node that failed'),
        ),
        migrations.AddField(
            model_name='scan',
            name='node_notes',
            field=models.TextField(blank=True, help_text='What happened on processing nodes, one line for each event'),
        ),
        migrations.AddField(
            model_name='scan',
            name='tried_nodes',
            field=models.CharField(blank=True, editable=False, help_text='Ids of these nodes, separated by commas', max_length=200),
        ),
        migrations.CreateModel(
            name='NodeWatch',
            fields=[
                ('id', models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('progress', models.CharField(help_text='Changes when the task makes progress', max_length=200)),
                ('progress_at', models.DateTimeField()),
                ('answer', models.CharField(help_text='Also changes when the node answers about it', max_length=220)),
                ('answer_at', models.DateTimeField()),
                ('looked_at', models.DateTimeField()),
                ('scan', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='watch', to='openscan.Scan')),
            ],
        ),
    ]
