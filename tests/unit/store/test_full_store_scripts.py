"""Test that a full store refuses only scripts that bring something new: each other script first makes its writes free.

Redis checks its memory only before the first write of a script. A write that needs no memory lets the others through.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import scrape_do_celery

LUA = Path(scrape_do_celery.__file__).parent / "store" / "lua"
SCRIPTS = [path.stem for path in LUA.glob("*.lua")]
#: The scripts that a full store may refuse, and why no paid job or ended run suffers.
REFUSED = {
    "accept_run": "starts a run, which buys; the end of a canceled draft is let through",
    "check_health": "tells that the server refuses writes",
    "check_rights": "tells what the server refuses",
    "claim_once": "marks a callback of the application, which gets the error before the callback begins",
    "create_run": "writes a new run, whose caller gets the error",
    "hold_content": "stores a page, which the API still has",
    "note_account": "notes a reading of the balance, which the next reading replaces",
    "replace_large_content": "stores a page, which the API still has",
    "reserve_key": "reserves a key for a new run, whose caller gets the error",
    "store_content": "stores a page, which the API still has; a page that is gone is let through",
    "take_delivery": "takes a delivery, which Scrape.do sends again, and whose page the API still has",
    "write_intent": "begins a purchase; a part that buys nothing more is let through",
}
#: Writes that Redis lets a full server do.
FREE = {"DEL", "EXPIRE", "HDEL", "PERSIST", "ZPOPMIN", "ZREM", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE"}
#: Writes that Redis refuses on a full server.
GROWING = {"HINCRBY", "HINCRBYFLOAT", "HSET", "HSETNX", "INCR", "SADD", "SET", "ZADD"}
_READING = {"EXISTS", "GET", "HEXISTS", "HGET", "HGETALL", "HKEYS", "HMGET", "HVALS", "INFO", "SMEMBERS", "TIME"} | {
    *("ZCARD", "ZCOUNT", "ZRANGE", "ZRANGEBYSCORE", "ZSCAN", "ZSCORE"),
}
_FUNCTION = re.compile(
    r"^local function (?P<name>\w+)\([^\n]*?\)(?: (?P<line>[^\n]* end)|\n(?P<body>(?:(?:  [^\n]*)?\n)*?)end)\n",
    re.MULTILINE,
)
_CALL = re.compile(r"redis\.p?call\((?:'(?P<command>[A-Z]+)'|(?P<dynamic>unpack))|\b(?P<function>\w+)\(")


def read_source(name, loaded):
    """Return a script without comments, behind the libraries that it includes."""
    text, libraries = (LUA / f"{name}.lua").read_text(), ""
    for library in re.findall(r"^--- @include (\S+)$", text, re.MULTILINE):
        if library not in loaded:
            loaded.add(library)
            libraries += read_source(library, loaded)
    return libraries + re.sub(r"^--\[\[[\s\S]*?^\]\]\n| *--[^\n]*", "", text, flags=re.MULTILINE)


def find_first_write(name):
    """Return `free`, `growing` or an empty text: the kind of the first write that a script always does first."""
    text = read_source(name, set())
    functions = {match["name"]: match["line"] or match["body"] for match in _FUNCTION.finditer(text)}
    return _find_in(_FUNCTION.sub("", text), functions)


def _find_in(text, functions):
    depth = 0
    for line in map(str.strip, text.splitlines()):
        # A write in the body of a condition or of a loop may not happen.
        word = line.split(" ", 1)[0]
        depth -= word in {"end", "until", "else", "elseif"} or line.startswith("end")
        for call in _CALL.finditer(line):
            kind = _classify(call, functions)
            is_sure = depth == 0 and "then " not in line[: call.start()] and "do " not in line[: call.start()]
            if kind == "growing" or (kind == "free" and is_sure):
                return kind
        opens = len(re.findall(r"\b(?:then|do|function)\b", line))
        closes = len(re.findall(r"\bend\b", line)) - (word.startswith("end"))
        depth += opens - closes
    return ""


def _classify(call, functions):
    if call["dynamic"]:
        return "growing"
    if command := call["command"]:
        assert command in FREE | GROWING | _READING, f"sort {command} into one of the sets"
        return "free" if command in FREE else "growing" if command in GROWING else ""
    return _find_in(functions[call["function"]], functions) if call["function"] in functions else ""


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_full_store_refuses_only_what_is_new(name):
    kind = find_first_write(name)
    if name in REFUSED:
        assert kind == "growing", "the script needs no reason: take it out of REFUSED"
    else:
        assert kind != "growing", "call allow_when_full first, or give a reason in REFUSED"


def test_each_refused_script_exists():
    assert set(REFUSED) <= set(SCRIPTS)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("redis.call('HDEL', key, '')\nredis.call('SET', key, 1)\n", "free"),
        ("if a then redis.call('HDEL', key, '') end\nredis.call('SET', key, 1)\n", "growing"),
        ("if a then\nredis.call('HDEL', key, '')\nend\nredis.call('SET', key, 1)\n", "growing"),
        ("if a then\nb = 1\nend\nredis.call('HDEL', key, '')\nredis.call('SET', key, 1)\n", "free"),
        ("for i = 1, 2 do redis.call('ZREM', key, i) end\nredis.call('ZADD', key, 1, 1)\n", "growing"),
        ("if redis.call('HDEL', key, '') == 1 then\nredis.call('SET', key, 1)\nend\n", "free"),
        ("write(key)\n", "growing"),
        ("redis.call('GET', key)\n", ""),
    ],
)
def test_first_write_is_found(text, kind):
    assert _find_in(text, {"write": "redis.call('INCR', key)\n"}) == kind
