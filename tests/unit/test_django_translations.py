"""Test the texts of the Django app: its catalogs are those of the sources, and its pages show no other text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from catalogs import LANGUAGES, TEMPLATE, extract_messages, path_of, render_all
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Return what the pages said. Django is set up once for a process, so the visits are in another one."""
    script = ROOT / "tests" / "support" / "django_translated_pages.py"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCRAPE_DO_")}
    command = [sys.executable, script, tmp_path_factory.mktemp("locale")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_catalogs_are_those_of_the_sources():
    """Run `python tests/support/catalogs.py` if this fails, and translate the new texts."""
    written = render_all()
    assert [path.name for path, content in written.items() if path.read_bytes() != content] == []
    assert len(extract_messages()) > 90


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_text_is_translated_with_its_values(language):
    with path_of(language).open("rb") as file:
        catalog = read_po(file, locale=language)
    texts = [message for message in catalog if message.id]
    assert [one.id for one in texts if not all([one.string] if isinstance(one.string, str) else one.string)] == []
    assert [one.id for one in texts if one.fuzzy] == []
    assert list(catalog.check()) == []


@pytest.mark.parametrize("builder", [WheelBuilder, SdistBuilder])
def test_packages_have_the_catalogs(builder):
    files = {file.path for file in builder(str(ROOT)).recurse_included_files()}
    catalogs = [path_of(language, kind) for language in LANGUAGES for kind in ("po", "mo")]
    assert {str(path) for path in [path_of(TEMPLATE), *catalogs]} <= files


def test_pages_show_no_untranslated_text(seen):
    untranslated = {name: words for name, words in seen["untranslated"].items() if words}
    assert untranslated == {}
    assert len(seen["untranslated"]) > 30


def test_pages_show_every_text_of_the_catalog(seen):
    assert seen["unseen"] == []


def test_pages_write_texts_and_figures_in_their_language(seen):
    assert seen["German"] == [True] * 4
    assert seen["English"] == [True] * 5


def test_a_row_has_label_hosts_reasons_and_cost(seen):
    assert seen["row"] == {
        "label": "prices",
        "hosts": "shop.example",
        "cost": "5,678.5",
        "failures": "34 \u00d7 the API no longer has the task",
    }


def test_logs_stay_in_english(seen):
    lines = seen["log"].splitlines()
    assert any(line.endswith("editor: Stop all purchases of tag:shop:7") for line in lines)
    assert any(line.endswith("editor: every night is paused.") for line in lines)
    assert "\u27e6" not in seen["log"]


def test_migrations_do_not_depend_on_the_language_and_names_change_no_table(seen):
    assert seen["SQL of the names"] == []
