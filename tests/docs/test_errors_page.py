"""Check docs/reference/errors.md against the error tree. `python tests/docs/test_errors_page.py` writes the page."""

from __future__ import annotations

import inspect
from pathlib import Path

import scrape_do_celery
from scrape_do_celery.config.settings import SettingsError
from scrape_do_celery.errors import ScrapeDoError

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
HEAD = """# Errors

Every error of a run is a `ScrapeDoError`. Its data survives Celery's JSON and pickle, so a worker's error is the same
in your process. [Handle failures](../how-to/failures.md) says what to do about them. A wrong argument is refused before
there is a run: `enqueue` and the clients then raise `ValueError`, of which pydantic's `ValidationError` is a subclass.

This page is generated from the classes: `python tests/docs/test_errors_page.py` writes it.

"""


def classes():
    public = [getattr(scrape_do_celery, name) for name in scrape_do_celery.__all__]
    return [one for one in [*public, SettingsError] if inspect.isclass(one) and issubclass(one, ScrapeDoError)]


def parent_of(error, known):
    return next((base for base in error.__mro__[1:] if base in known), None)


def in_order(known, parent=None, depth=0):
    """Return each class under its parent, with its depth in the tree."""
    for error in sorted((one for one in known if parent_of(one, known) is parent), key=lambda one: one.__name__):
        yield error, depth
        yield from in_order(known, error, depth + 1)


def when(error):
    return inspect.getdoc(error).partition("\n")[0]


def attributes_of(error):
    """Return each property that the class itself defines, with the first paragraph of its text."""
    return {
        name: " ".join(inspect.getdoc(value).partition("\n\n")[0].split())
        for name, value in vars(error).items()
        if isinstance(value, property) and not name.startswith("_")
    }


def inherited_by(error):
    """Return the properties of the base classes, nearest class first."""
    above = [name for base in error.__mro__[1:] if issubclass(base, ScrapeDoError) for name in attributes_of(base)]
    return [name for name in dict.fromkeys(above) if name not in attributes_of(error)]


def section(error):
    name = error.__name__
    others = [base for base in error.__bases__ if base is not Exception]
    bases = [
        f"[`{base.__name__}`](#{base.__name__.lower()})"
        if issubclass(base, ScrapeDoError)
        else f"`{base.__module__.removeprefix('builtins')}.{base.__name__}`".replace("`.", "`")
        for base in others
    ]
    text = "\n".join(line.strip() for line in inspect.getdoc(error).splitlines())
    lines = [f"## {name}", "", text, ""]
    if bases:
        lines += [f"Parents: {', '.join(bases)}.", ""]
    if attributes := attributes_of(error):
        lines += ["| attribute | meaning |", "|---|---|"]
        lines += [f"| `{key}` | {meaning} |" for key, meaning in attributes.items()]
        lines.append("")
    if inherited := inherited_by(error):
        lines += [f"Inherited: {', '.join(f'`.{name}`' for name in inherited)}.", ""]
    return "\n".join(lines)


def page():
    known = classes()
    ordered = list(in_order(known))
    tree = "\n".join(f"{'  ' * depth}- [`{one.__name__}`](#{one.__name__.lower()})" for one, depth in ordered)
    # Four spaces for a level, which every Markdown parser accepts.
    tree = tree.replace("  ", "    ")
    return HEAD + tree + "\n\n" + "\n".join(section(error) for error, _ in ordered)


def test_the_page_is_that_of_the_classes():
    assert page() == PAGE.read_text(), "run: python tests/docs/test_errors_page.py"


def test_every_public_error_is_on_the_page():
    assert {one for one, _ in in_order(classes())} == set(classes())
    assert len(classes()) > 30


def test_every_attribute_says_what_it_holds():
    assert [one.__name__ for one in classes() if not all(attributes_of(one).values())] == []


if __name__ == "__main__":
    PAGE.write_text(page())
