"""Griffe's extension: a comment `#: text` above or behind a field is the field's documentation."""

from __future__ import annotations

from typing import Any

from griffe import Attribute, Docstring, Extension


class FieldComments(Extension):
    """Read the comments that start with `#:`."""

    def on_attribute_instance(self, *, attr: Attribute, **_: Any) -> None:
        """Document an attribute that has no docstring."""
        if attr.docstring is not None or attr.lineno is None:
            return
        lines = attr.lines_collection[attr.filepath]
        _, mark, same_line = lines[attr.lineno - 1].partition("  #: ")
        found = [same_line.strip()] if mark else []
        number = attr.lineno - 2
        while number >= 0 and (line := lines[number].strip()).startswith("#:"):
            found.insert(0, line.removeprefix("#:").strip())
            number -= 1
        if found:
            text = " ".join(found)
            attr.docstring = Docstring(text[0].upper() + text[1:].rstrip(".") + ".", parent=attr)
