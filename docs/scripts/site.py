"""MkDocs' hooks: links from a page into the repository work on the site, or become plain text."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any

from links import rewrite
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
#: Charts that the benchmarks write beside their figures; the site gets a copy.
CHARTS = "benchmarks/results"


def on_files(files: Files, config: Any) -> Files:
    """Add the charts of the benchmarks to the files of the site."""
    for chart in sorted((ROOT / CHARTS).glob("*.svg")):
        uri = f"explanation/charts/{chart.name}"
        files.append(File.generated(config, uri, abs_src_path=str(chart)))
    return files


def on_page_markdown(text: str, page: Any, config: Any, **_: Any) -> str:
    """Rewrite the links of a page that lead out of `docs/`."""
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def address(target: str) -> str | None:
        path = posixpath.normpath(posixpath.join(folder, target.partition("#")[0]))
        if path.startswith("docs/"):
            return target
        if path.startswith(f"{CHARTS}/"):
            return f"charts/{posixpath.basename(path)}"
        return config.repo_url and f"{config.repo_url.rstrip('/')}/blob/main/{path}"

    return rewrite(text, address)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Replace the script that the theme loads from another host, so that search works without a network."""
    up = "../" * page.url.count("/")
    return output.replace("https://unpkg.com/iframe-worker/shim", f"{up}js/file-worker.js")


def on_post_template(output: str, **_: Any) -> str:
    """Remove that script from the page for wrong addresses, which only a server shows."""
    return output.replace('<script src="https://unpkg.com/iframe-worker/shim"></script>', "")
