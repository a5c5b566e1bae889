from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scrape_do", "0001_initial")]

    operations = [
        # The columns may be null, so that workers of an earlier version can still write rows.
        migrations.AddField(
            model_name="scraperun",
            name="waiting_for",
            field=models.JSONField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="scraperun",
            name="reasons",
            field=models.JSONField(blank=True, editable=False, null=True),
        ),
    ]
