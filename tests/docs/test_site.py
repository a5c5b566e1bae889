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


#: Topics that a newcomer looks for -> the page, and the heading on it.
TOPICS = {
    "first run": ("docs/tutorial/first-run.md", "Your first run"),
    "words": ("docs/glossary.md", "Jobs and runs"),
    "clients without Celery": ("docs/how-to/clients.md", "Use the API without Celery"),
    "sandbox": ("docs/how-to/sandbox.md", "Run the sandbox"),
    "list of runs": ("docs/how-to/find-runs.md", "What is in the list"),
    "webhooks": ("docs/how-to/webhooks.md", "Receive results by webhooks"),
    "second purchase": ("docs/explanation/guarantees.md", "Four exceptions"),
    "wrong request": ("docs/how-to/failures.md", "Wrong requests"),
    "doubt": ("docs/how-to/failures.md", "After a `SubmitInDoubtError`"),
    "durable Redis": ("docs/how-to/redis.md", "Set up Redis"),
    "backups": ("docs/how-to/compose.md", "Backups"),
    "encryption": ("docs/how-to/encryption.md", "Encrypt the store"),
    "callbacks": ("docs/how-to/celery.md", "Call a task when a run ends"),
    "upgrades": ("docs/reference/versions.md", "Upgrade"),
    "kubernetes": ("docs/how-to/kubernetes.md", "Scale by metrics"),
    "settings": ("docs/reference/settings.md", "Settings"),
    "metrics": ("docs/metrics.md", "Metrics and traces"),
    "map of the code": ("docs/architecture.md", "Questions, and where the answer is"),
    "Lua scripts": ("docs/architecture.md", "Lua files"),
    "a new run option": ("CONTRIBUTING.md", "How to add a run option"),
    "a new step": ("CONTRIBUTING.md", "How to add a step"),
}
CLICKS = 2


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


def links_of(page):
    """Return the pages of the repository that a page links to."""
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+\.md)", page.read_text())
    return {(page.parent / target).resolve() for target in targets}


def reachable(clicks):
    """Return the pages that the README reaches within a number of clicks."""
    found = {README}
    for _ in range(clicks):
        found |= {target for page in found for target in links_of(page)}
    return found


@pytest.mark.parametrize("topic", TOPICS)
def test_readme_reaches_every_topic_in_two_clicks(topic):
    name, heading = TOPICS[topic]
    assert ROOT / name in reachable(CLICKS)
    assert heading in re.findall(r"^#+ (.+)$", (ROOT / name).read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "page", [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name
)
def test_anchors_of_links_are_headings(page):
    for target, anchor in re.findall(r"\]\((|(?!https?:)[^)#\s]+\.md)#([^)\s]+)\)", page.read_text()):
        text = ((page.parent / target) if target else page).read_text()
        assert anchor in {_anchor_of(line) for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}, (target, anchor)


def _anchor_of(heading):
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_readme_stays_short():
    assert len(README.read_text().splitlines()) <= 150


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
