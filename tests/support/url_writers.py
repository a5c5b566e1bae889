"""Six ways in which a server may write a target's URL. None of them uses the product's parser."""

from __future__ import annotations

import re
import string

from pydantic import HttpUrl, ValidationError
from pydantic_core import Url

_ALNUM = string.ascii_letters + string.digits
#: Part of the URL -> characters that Go does not escape (`shouldEscape` in net/url).
_PLAIN = {
    "host": _ALNUM + "-_.~!$&'()*+,;=:[]<>\"",
    "user": _ALNUM + "-_.~$&+,;=",
    "path": _ALNUM + "-_.~$&+,/:;=@",
    "query": _ALNUM + "-_.~",
    "fragment": _ALNUM + "-_.~$&+,/:;=?@!()*",
}
_USERINFO = set(_ALNUM + "-._:~!$&'()*+,;=%@")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")


class GoError(ValueError):
    """An error of Go's parser, which refuses the URL or a part of it."""


def verbatim(url):
    return url


def whatwg(url):
    return _or_verbatim(Url, url)


def pydantic(url):
    return _or_verbatim(HttpUrl, url)


def idna2003(url):
    found = re.match(r"(https?://(?:[^/?#\\]*@)?)([^/?#\\:\[]+)(.*)", url, re.IGNORECASE | re.DOTALL)
    try:
        return f"{found[1]}{found[2].encode('idna').decode()}{found[3]}" if found else url
    except UnicodeError:
        return url


def go(url):
    """Write a URL by `url.Parse` and `String`. If Go refuses the URL, return it unchanged."""
    return _go(url, lambda query: query)


def go_encode(url):
    """Write a URL as `go`, with `RawQuery = Query().Encode()`."""
    return _go(url, _encoded)


WRITERS = {one.__name__: one for one in (verbatim, whatwg, go, go_encode, idna2003, pydantic)}


def _or_verbatim(kind, url):
    try:
        return str(kind(url))
    except ValidationError:
        return url


def _go(url, rewrite):
    # Go works on bytes, so each byte is a character here.
    try:
        return _written(url.encode().decode("latin-1"), rewrite).encode("latin-1").decode()
    except (GoError, UnicodeDecodeError):
        return url


def _written(url, rewrite):
    if re.search(r"[\x00-\x1f\x7f]", url):
        raise GoError("control character")
    rest, hashed, fragment = url.partition("#")
    scheme, _, rest = rest.partition("://")
    forced = rest.endswith("?") and rest.count("?") == 1
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    query = rewrite(query)
    written = f"{scheme.lower()}://{_user(user)}{at}{_host(host)}{_kept(slash + path, 'path')}"
    written += f"?{query}" if query or forced else ""
    return f"{written}#{_kept(fragment, 'fragment')}" if hashed and fragment else written


def _user(user):
    if set(user) - _USERINFO:
        raise GoError("userinfo")
    name, colon, password = user.partition(":")
    return f"{_escaped(_unescaped(name), 'user')}{colon}{_escaped(_unescaped(password), 'user')}"


def _host(host):
    found = re.fullmatch(r"(\[.*\]|[^:]*)(:[0-9]*)?", host, re.DOTALL)
    if found is None:
        raise GoError("port")
    name, port = found.groups("")
    if any(byte < "\x80" and byte not in _PLAIN["host"] + "%" for byte in name):
        raise GoError("host")
    if any(int(one, 16) < 0x80 and one != "25" for one in _ESCAPE.findall(name) if one):
        raise GoError("escape in the host")
    return _escaped(_unescaped(name), "host") + port


def _kept(text, place):
    """Return the text if Go finds it well encoded, or else Go's own encoding."""
    plain = _unescaped(text)
    good = set(_PLAIN[place] + "!$&'()*+,;=:@[]%")
    return text if set(text) <= good else _escaped(plain, place)


def _encoded(query):
    values = {}
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        # Go drops such pairs with an error that a server should handle. Here the query stays unchanged.
        if ";" in pair:
            return query
        try:
            key, value = _unescaped(key.replace("+", " ")), _unescaped(value.replace("+", " "))
        except GoError:
            return query
        if pair:
            values.setdefault(key, []).append(value)
    return "&".join(f"{_component(key)}={_component(value)}" for key in sorted(values) for value in values[key])


def _component(text):
    return _escaped(text, "query").replace("%20", "+")


def _unescaped(text):
    def char(found):
        if found[1] is None:
            raise GoError("escape")
        return chr(int(found[1], 16))

    return _ESCAPE.sub(char, text)


def _escaped(text, place):
    return "".join(one if one in _PLAIN[place] else f"%{ord(one):02X}" for one in text)
