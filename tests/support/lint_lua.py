"""Check the Lua scripts with luacheck: `python tests/support/lint_lua.py`.

The server gets a script after its libraries, in one text. Here each file is checked alone, so that a finding has the
line of the file. Each include declares the names of its library, and a library returns its own names.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scrape_do_celery.store.retention import SCRIPT_CONSTANTS

ROOT = Path(__file__).parents[2]
LUA = Path("src", "scrape_do_celery", "store", "lua")
MAX_LINE = 110
_INCLUDE = re.compile(r"^--- @include (\S+)$", re.MULTILINE)
_DEFINITION = re.compile(r"^local function (\w+)", re.MULTILINE)
_OPTIONS = (
    *("--no-config", "--codes", "--no-color", "--quiet", "--std", "lua51", "--max-line-length", str(MAX_LINE)),
    *("--read-globals", "redis", "KEYS", "ARGV", *SCRIPT_CONSTANTS),
)


def main():
    if shutil.which("luacheck") is None:
        print("lint_lua needs luacheck: install it (Debian: apt install lua-check)")
        return 1
    files = sorted((ROOT / LUA).rglob("*.lua"))
    texts = {path.relative_to(ROOT): path.read_text() for path in files}
    functions = {f"lib/{path.stem}": _DEFINITION.findall(text) for path, text in texts.items()}
    with tempfile.TemporaryDirectory() as folder:
        for path, text in texts.items():
            copy = folder / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(with_declarations(text, functions, is_library=path.parent.name == "lib"))
        return subprocess.run(["luacheck", *_OPTIONS, "--", *map(str, texts)], cwd=folder, check=False).returncode


def with_declarations(text, functions, *, is_library):
    """Return the text with the names that its includes declare, on the same lines. A library returns its names."""

    def declare(include):
        names = functions[include[1]]
        # An includer need not use every name.
        return f"local {', '.join(names)} = {', '.join('0' for _ in names)} -- luacheck: ignore"

    declared = _INCLUDE.sub(declare, text)
    # One name a line: a library may have many.
    return f"{declared}return {f',{chr(10)}  '.join(_DEFINITION.findall(text))}\n" if is_library else declared


sys.exit(main())
