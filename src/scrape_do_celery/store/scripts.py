"""Load the Lua scripts, each behind the libraries that it includes and the constants that it names. Call them."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from redis.commands.core import AsyncScript, Script
from redis.exceptions import NoScriptError

from scrape_do_celery.store.retention import SCRIPT_CONSTANTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.resources.abc import Traversable

_INCLUDE: Final = re.compile(r"^--- @include (\S+)$", re.MULTILINE)
#: Headers and comments that start a line; indentation. The server keeps each byte of a script, so they are left out.
_COMMENT: Final = re.compile(r"^--\[\[[\s\S]*?^\]\]\n|^ *--[^\n]*\n", re.MULTILINE)
_INDENTATION: Final = re.compile(r"^ +|^\n", re.MULTILINE)
#: A function of a library. Its last line is an `end` without indentation, unless it has one line.
_FUNCTION: Final = re.compile(r"^local function (\w+)\([^\n]*(?: end|\n(?:(?: [^\n]*)?\n)*end)\n", re.MULTILINE)


#: The library that reads the server's time, and the code behind it that moves the time for tests.
_CLOCK: Final = "lib/clock"
_MOVED_CLOCK: Final = """local function now() return read_server_time() + tonumber(redis.call('GET', '{key}') or 0) end
"""


class LoadedScript(Script):
    """A script for threads. A server that lacks the script gets its text by `EVAL`: `SCRIPT LOAD` is one more right."""

    def __call__(self, keys: Sequence[Any] = (), args: Sequence[Any] = (), client: Any = None) -> Any:  # type: ignore[override]
        """Carry the script out. Return its reply."""
        client = client or self.registered_client
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.eval(self.script, len(keys), *keys, *args)


class LoadedAsyncScript(AsyncScript):
    """A script for asyncio, with the same calls as `LoadedScript`."""

    async def __call__(self, keys: Sequence[Any] = (), args: Sequence[Any] = (), client: Any = None) -> Any:  # type: ignore[override]
        """Carry the script out. Return its reply."""
        client = client or self.registered_client
        try:
            return await client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await client.eval(self.script, len(keys), *keys, *args)


#: The first line of each script on a cluster. While a slot moves, some of its keys are on one node and the others on
#: another. A script that met a missing key after its first write would stay half applied. A node that received the slot
#: would show a key that has not come yet as missing, and the script would count anew. Neither of these two keys ever
#: exists. So a node whose slot moves away refuses this line, and a node that receives a slot refuses two such keys in
#: one call. The script is refused whole, before its first write.
_SLOT_PROBE: Final = "redis.call('EXISTS', {first}, {second})\n"


# Each store of a process has the same scripts, and their preparation takes 50 ms.
@lru_cache(maxsize=8)
def load_scripts(clock_offset_key: str = "", cluster_prefix: str = "") -> Mapping[str, str]:
    """Return the text of each script by its name: its constants, each included library once, then the script.

    With `clock_offset_key`, the scripts add the seconds in this key of the server to the server's time. With
    `cluster_prefix`, each script first makes sure that the slot of this key prefix does not move.
    """
    # A text of JSON without control characters is a text of Lua.
    first, second = (json.dumps(f"{cluster_prefix}:{end}", ensure_ascii=False) for end in "-=")
    probe = _SLOT_PROBE.format(first=first, second=second) if cluster_prefix else ""
    moved_clock = _MOVED_CLOCK.format(key=clock_offset_key) if clock_offset_key else ""
    root = resources.files(__package__) / "lua"
    files = {file.name.removesuffix(".lua"): file for file in root.iterdir() if file.name.endswith(".lua")}
    return MappingProxyType(
        {
            name: probe + _add_constants(_shorten_script(_read_script(root, file, set(), moved_clock)))
            for name, file in files.items()
        }
    )


def _read_script(root: Traversable, file: Traversable, loaded: set[str], moved_clock: str) -> str:
    """Return the libraries that a file needs and that are not `loaded` yet, followed by the text of the file."""
    text, libraries = file.read_text(), ""
    for name in _INCLUDE.findall(text):
        if name not in loaded:
            loaded.add(name)
            library = _read_script(root, root / f"{name}.lua", loaded, moved_clock)
            if name == _CLOCK and moved_clock:
                library = library.replace("function now()", "function read_server_time()") + moved_clock
            libraries += library
    return libraries + text


def _shorten_script(text: str) -> str:
    """Return a text without what the server does not need: comments, unused functions of libraries, indentation."""
    text = _COMMENT.sub("", text)
    while unused := _find_unused(text):
        for function in reversed(unused):
            text = text[: function.start()] + text[function.end() :]
    return _INDENTATION.sub("", text)


def _find_unused(text: str) -> list[re.Match[str]]:
    """Return the functions that a text only defines."""
    counts = Counter(re.findall(r"\w+", text))
    return [function for function in _FUNCTION.finditer(text) if counts[function[1]] == 1]


def _add_constants(text: str) -> str:
    """Return the constants that a text names, followed by the text."""
    named = set(re.findall(r"\b[A-Z][A-Z_]+\b", text))
    return "".join(f"local {name} = {value}\n" for name, value in SCRIPT_CONSTANTS.items() if name in named) + text
