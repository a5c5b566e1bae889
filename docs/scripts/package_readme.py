"""Hatchling's metadata hook: the README of the package has no relative links."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class PackageReadme(MetadataHookInterface):
    """Fill in `readme`. If `[project.urls]` has a `Source`, links lead to the repository; else they become text."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the field `readme` of the metadata."""
        root = Path(self.root)
        # Hatchling loads this file by its path, so its folder is not importable.
        spec = importlib.util.spec_from_file_location("links", root / "docs" / "scripts" / "links.py")
        if spec is None or spec.loader is None:
            raise FileNotFoundError("docs/scripts/links.py is missing: restore it from the repository")
        links = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(links)
        text = links.for_index((root / "README.md").read_text(), metadata.get("urls", {}).get("Source"))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
