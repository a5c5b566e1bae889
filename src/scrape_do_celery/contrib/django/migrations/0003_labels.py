from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scrape_do", "0002_waits_and_reasons")]

    operations = [
        # The columns have values of the database, or may be null, so that workers of an earlier version can still write rows.
        migrations.AddField(
            model_name="scraperun",
            name="label",
            field=models.CharField(blank=True, db_default="", db_index=True, max_length=64),
        ),
        migrations.AddField(
            model_name="scraperun",
            name="tags",
            field=models.JSONField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="scraperun",
            name="hosts",
            field=models.CharField(blank=True, db_default="", max_length=300),
        ),
    ]
