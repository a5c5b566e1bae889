"""Test that the site has every page and every public name, and that its pictures are those of the scripts."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import scrape_do_celery

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
_RELATIVE = re.compile(r"\]\((?!https?:|#)")


def script(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages_of(nav):
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [page for entry in entries for page in pages_of(entry)]


def navigation():
    # The file names a Python function, which `yaml.safe_load` refuses.
    text = re.sub(r"!!python/\S+", "", (ROOT / "mkdocs.yml").read_text())
    return pages_of(yaml.safe_load(text)["nav"])


def test_navigation_lists_every_page_once():
    assert sorted(navigation()) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_contents_link_to_every_page():
    linked = set(re.findall(r"\]\((?!https?:)([^)#]+)", (DOCS / "index.md").read_text()))
    assert {page for page in navigation() if page not in linked} == {"index.md"}


def test_reference_has_every_public_name_once():
    reference = "\n".join(page.read_text() for page in sorted((DOCS / "reference").glob("*.md")))
    named = re.findall(r"^::: scrape_do_celery\.(\w+)$", reference, re.MULTILINE)
    named += re.findall(r"^## (\w+Error)$", (DOCS / "reference" / "errors.md").read_text(), re.MULTILINE)
    assert sorted(set(named) - {"SettingsError"}) == sorted(scrape_do_celery.__all__)
    assert len(named) == len(set(named))


def test_pictures_of_a_run_are_those_of_the_script():
    pictures = script(DOCS / "img" / "draw_run.py").pictures()
    assert len(pictures) == 2
    for path, text in pictures.items():
        assert path.read_text() == text, "run: python docs/img/draw_run.py"


@pytest.mark.parametrize("repository", [None, "https://example.com/shop/repository"])
def test_readme_of_the_package_has_no_relative_link(repository):
    text = script(DOCS / "scripts" / "links.py").for_index(README.read_text(), repository)
    assert _RELATIVE.search(README.read_text())
    assert not _RELATIVE.search(text)
    assert "<picture>" not in text
    assert (f"[settings]({repository}/blob/main/docs/reference/settings.md)" in text) is bool(repository)


def test_links_in_code_stay():
    text = "```python\nrows[0](page)\n```\n[page](page.md)\n"
    assert script(DOCS / "scripts" / "links.py").for_index(text, None) == "```python\nrows[0](page)\n```\npage\n"


def test_site_is_built_by_all_tests_only():
    for target, is_built in (("test-all", True), ("test", False)):
        made = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert ("mkdocs build --strict" in made) is is_built


def test_pages_load_nothing_from_other_hosts():
    """Load no script from another host: the hook replaces the theme's only such script by this one."""
    assert (DOCS / "js" / "file-worker.js").exists()
    assert "font: false" in (ROOT / "mkdocs.yml").read_text()
