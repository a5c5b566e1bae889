"""Keep the catalogs of the Django app up to date with its sources: `python tests/support/catalogs.py`.

Babel reads and writes the catalogs, so that no machine needs GNU gettext. As `makemessages` does, `templatize` turns a
template into the Python that Babel reads. The catalog of `en` is the template of all others.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

APP = Path(__file__).parents[2] / "src" / "scrape_do_celery" / "contrib" / "django"
LOCALE = APP / "locale"
TEMPLATE = "en"
#: The languages with a translation. To add one, make its folder and an empty file, and run this script.
LANGUAGES = ("de",)
KEYWORDS = DEFAULT_KEYWORDS | {f"{name}_lazy": DEFAULT_KEYWORDS[name] for name in ("gettext", "ngettext", "pgettext")}
#: Whoever runs this script writes the same bytes.
_DATE = datetime(2026, 11, 30, tzinfo=UTC)


def find_sources():
    """Return the files with texts."""
    return sorted({*APP.rglob("*.py"), *APP.rglob("*.html")} - {*(APP / "migrations").glob("*.py")})


def extract_messages():
    """Return a catalog of all texts of the sources."""
    found = _new_catalog(TEMPLATE)
    for file in find_sources():
        text = file.read_text()
        # Between brackets, the indentation of HTML is none of Python.
        code = f"({templatize(text, origin=file.name)})" if file.suffix == ".html" else text
        for _, message, comments, context in extract("python", io.BytesIO(code.encode()), KEYWORDS, ("Translators:",)):
            found.add(message, locations=[(f"{file.relative_to(APP)}", 0)], auto_comments=comments, context=context)
    return found


def path_of(language, kind="po"):
    """Return the path of a catalog."""
    return LOCALE / language / "LC_MESSAGES" / f"django.{kind}"


def update(language, template):
    """Return the catalog of a language with the texts of the template: new texts have no translation yet."""
    with path_of(language).open("rb") as file:
        catalog = read_po(file, locale=language)
    catalog.update(template, no_fuzzy_matching=True)
    found = _new_catalog(language)
    for message in catalog:
        if message.id:
            found[message.id] = message
    return found


def render_po(catalog):
    """Return a catalog as the bytes of a file for translators."""
    file = io.BytesIO()
    write_po(file, catalog, width=120, include_lineno=False, ignore_obsolete=True, sort_output=True)
    return file.getvalue()


def render_mo(catalog):
    """Return a catalog as the bytes of a file that Django reads."""
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def render_all():
    """Return the bytes of each file of the catalogs, by its path."""
    template = extract_messages()
    found = {path_of(TEMPLATE): render_po(template)}
    for language in LANGUAGES:
        catalog = update(language, template)
        found |= {path_of(language): render_po(catalog), path_of(language, "mo"): render_mo(catalog)}
    return found


def _new_catalog(language):
    """Return an empty catalog with the headers that all have."""
    return Catalog(
        locale=language,
        project="scrape-do-celery",
        header_comment="# The texts of the Django app of scrape-do-celery. Write: python tests/support/catalogs.py",
        creation_date=_DATE,
        revision_date=_DATE,
        version="any",
        msgid_bugs_address="none",
        last_translator="none",
        language_team="none",
        fuzzy=False,
    )


if __name__ == "__main__":
    for path, content in render_all().items():
        path.write_bytes(content)
