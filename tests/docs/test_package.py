"""Check the metadata of the package, and the pages that name its versions."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
import trove_classifiers
from matrix import classified, find_python

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSIONS = (ROOT / "docs" / "reference" / "versions.md").read_text()


def test_classifiers_are_those_of_the_index():
    assert set(PROJECT["classifiers"]) <= trove_classifiers.classifiers
    assert PROJECT["classifiers"] == sorted(set(PROJECT["classifiers"]))


def test_each_supported_python_is_classified():
    assert PROJECT["requires-python"] == f">={classified('Programming Language :: Python')[0]}"
    assert classified("Programming Language :: Python") == ["3.11", "3.12", "3.13", "3.14"]


def test_each_supported_django_is_classified():
    (bound,) = PROJECT["optional-dependencies"]["django"]
    assert bound == f"django>={classified('Framework :: Django')[0]}"


@pytest.mark.parametrize(
    ("name", "kind"), [("Python", "Programming Language :: Python"), ("Django", "Framework :: Django")]
)
def test_the_page_of_versions_names_what_is_classified(name, kind):
    (row,) = re.findall(rf"^\| {name} \| (.+?) \|", VERSIONS, re.MULTILINE)
    assert re.findall(r"\d+\.\d+", row) == classified(kind)


def test_the_interpreter_of_these_tests_is_found_for_the_matrix():
    version = "{}.{}".format(*sys.version_info)
    assert find_python(version) is not None
    assert find_python("3.999") is None


def test_extras_that_pages_name_exist():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    named = {extra for page in pages for extra in re.findall(r"scrape-do-celery\[([\w,]+)\]", page.read_text())}
    assert {one for names in named for one in names.split(",")} <= PROJECT["optional-dependencies"].keys()
