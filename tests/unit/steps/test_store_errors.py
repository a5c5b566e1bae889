"""Test that no step takes an error of the store for an answer of the API: such an answer may end or resubmit a part."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import scrape_do_celery.steps

MODULES = sorted(Path(scrape_do_celery.steps.__file__).parent.glob("*.py"))


def names_of(handler):
    return {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else set()


def unsafe_lines(tree):
    """Return the lines that catch errors of the API before errors of the store are raised again."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            raised = False
            for handler in node.handlers:
                if names_of(handler) & {"StoreUnavailableError", "RedisError"}:
                    raised = raised or isinstance(handler.body[-1], ast.Raise)
                raises_again = isinstance(handler.body[0], ast.Raise) and handler.body[0].exc is None
                if "ScrapeDoError" in names_of(handler) and not raised and not raises_again:
                    yield handler.lineno


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_errors_of_the_store_are_raised_again(path):
    assert not list(unsafe_lines(ast.parse(path.read_text())))


def test_the_check_sees_a_handler_that_takes_both():
    text = "try:\n    f()\nexcept ScrapeDoError as error:\n    note(error)\n"
    assert list(unsafe_lines(ast.parse(text))) == [3]
