"""The comparison of URLs: the forms that spellings of one target share, and the digests of a set of targets."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter, defaultdict, deque
from encodings.idna import nameprep
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import normalize
from urllib.parse import unquote

from ada_url import URL

from .urls_refused import why_no_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "coarse_digest",
    "is_web_url",
    "loose_form",
    "match_targets",
    "strict_digest",
    "whatwg_form",
    "why_no_target",
]

#: The parts of a WHATWG form. The form escapes an `@` before the host, and a `?` or `#` in the path.
_HREF = re.compile(
    r"(https?:)//(?:[^/?#@]*@)?(\[[^\]/?#]*\]|[^:/?#@\[]*)(:[0-9]+)?(/[^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL
)
_ESCAPED_ESCAPE = re.compile(r"%(?:25)+(?=[0-9A-Fa-f]{2})")
#: Characters that a parser removes from a URL: these anywhere, blanks and control characters at the end.
_TAKEN_OUT = str.maketrans("", "", "\t\n\r")
_BLANKS = "".join(map(chr, range(0x21)))
_PAIR_END = "=" + _BLANKS
_PATH_END = "/" + _BLANKS
_WEB = frozenset({"http:", "https:"})
_MAX_LABEL = 63


def whatwg_form(url: str) -> str:
    """Return `url` as a WHATWG parser writes it; the input itself if the parser refuses the URL.

    No input raises an error. A lone surrogate counts as U+FFFD, as in a browser and in Go.
    """
    try:
        return URL(url).href
    except UnicodeEncodeError:
        scalars = url.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        form = whatwg_form(scalars)
        return url if form == scalars else form
    except ValueError:
        return url


def loose_form(url: str) -> str:
    """Return the form that all spellings of one target share; some different targets share it, too.

    The loose form depends only on the WHATWG form. Escapes are decoded, also escapes of escapes. `+` is a space, a
    backslash is a slash, other text is in NFC. The pairs of the query are sorted, the host is mapped as in IDNA 2003.
    User, fragment, empty query, empty segments, blanks at the end and a dot at the end of the host are removed.
    """
    return _loose_form(whatwg_form(url))


def is_web_url(text: str) -> bool:
    """Return whether a WHATWG parser reads a server's text as an http or https URL.

    The stricter rules for targets hold for callers only, because a server may write a target decoded, with blanks.
    """
    try:
        return URL.can_parse(text) and URL(text).protocol in _WEB
    except UnicodeEncodeError:
        return False


def strict_digest(targets: Iterable[str]) -> str:
    """Return the digest of the targets' WHATWG forms. Order does not change it, but duplicates and fragments do."""
    return _make_digest("s2", map(whatwg_form, targets))


def coarse_digest(targets: Iterable[str]) -> str:
    """Return the digest of the targets' loose forms. Order does not change it, but duplicates do."""
    return _make_digest("c2", map(loose_form, targets))


def match_targets(targets: Sequence[str], urls: Sequence[str]) -> tuple[list[int], bool]:
    """Return for each target the position of its URL in `urls`, and whether the URLs prove all these positions.

    Targets and URLs are compared in groups of one loose form. The URLs of a proven group get the positions of their
    targets. Each other URL keeps its own position if that is free, and the rest fill the free positions in order. If
    all is proven and there are fewer URLs, equal targets share one URL. If not all is proven, each URL comes once.
    """
    if list(targets) == list(urls):
        return list(range(len(urls))), True
    wanted, found = _group_urls(targets), _group_urls(urls)
    placed: dict[int, int] = {}
    proven = found.keys() <= wanted.keys()
    for key, group in wanted.items():
        pairs = _prove_pairs(group, found.get(key, []))
        placed.update(pairs)
        proven = proven and len(pairs) == len(group)
    if proven:
        return [placed[position] for position in range(len(targets))], True
    return _fill_positions(placed, len(urls)), False


def _make_digest(version: str, forms: Iterable[str]) -> str:
    return version + hashlib.sha256(json.dumps(sorted(forms)).encode()).hexdigest()[:30]


def _loose_form(form: str) -> str:
    parts = _HREF.fullmatch(form)
    if parts is None:
        return form
    scheme, host, port, path, query = parts.groups("")
    # If a server writes `%23` decoded, a fragment starts there. The next parser drops a blank at the end.
    path, has_fragment, _ = _decode_text(path).partition("#")
    pairs = "" if has_fragment else _sorted_pairs(_decode_text(query))
    return f"{scheme}//{_loose_host(host)}{port}{_loose_path(path.rstrip(_BLANKS))}{pairs}"


def _decode_text(text: str) -> str:
    # A server may escape a URL once more than another server. Fold escapes of escapes before decoding. Decoding until
    # nothing changes would take a time that grows with the square of a hostile URL's length.
    text = unquote(_ESCAPED_ESCAPE.sub("%", text)).replace("+", " ").translate(_TAKEN_OUT)
    return text if text.isascii() else normalize("NFC", text)


def _loose_path(path: str) -> str:
    # Go writes a backslash as `%5C`, but a WHATWG parser reads it as a slash. So remove dot segments after decoding.
    kept: list[str] = []
    for segment in path.replace("\\", "/").split("/")[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    # Many servers fold `//`, and drop the slash at the end. Fold last, because `..` may remove an empty segment.
    return "/" + "/".join(filter(None, kept)).rstrip(_PATH_END)


def _sorted_pairs(query: str) -> str:
    # Go's `Encode()` sorts by key, writes `a` as `a=`, and drops pairs without key and value.
    pairs = sorted(pair for part in query.split("&") if (pair := part.partition("#")[0].rstrip(_PAIR_END)))
    return "?" + "&".join(pairs) if pairs else ""


def _loose_host(host: str) -> str:
    host = host.removesuffix(".")
    return ".".join(map(_loose_label, host.split("."))) if "xn--" in host else host


def _loose_label(label: str) -> str:
    # The time of decoding grows with the square of the length, and a server may answer with a label of any length.
    if not label.startswith("xn--") or len(label) > _MAX_LABEL:
        return label
    try:
        return nameprep(label[4:].encode().decode("punycode"))
    except UnicodeError:
        return label


class _UrlForms(NamedTuple):
    """A URL with its position and its keys of comparison, the strictest key first."""

    position: int
    exact: str
    whatwg: str
    loose: str


def _group_urls(urls: Iterable[str]) -> Mapping[str, list[_UrlForms]]:
    groups: dict[str, list[_UrlForms]] = defaultdict(list)
    for position, url in enumerate(urls):
        form = whatwg_form(url)
        one = _UrlForms(position, url, form, _loose_form(form))
        groups[one.loose].append(one)
    return groups


def _prove_pairs(targets: list[_UrlForms], urls: list[_UrlForms]) -> dict[int, int]:
    """Pair the targets of a group with its URLs by the first key that proves them; no pairs if no key does."""
    for key in ("exact", "whatwg", "loose"):
        # A loose form proves nothing if a server may distinguish two targets of the group.
        if key == "loose" and len({one.whatwg for one in targets}) > 1:
            break
        if pairs := _pair_by_key(targets, urls, attrgetter(key)):
            return pairs
    return {}


def _pair_by_key(
    targets: list[_UrlForms], urls: list[_UrlForms], key: Callable[[_UrlForms], str]
) -> dict[int, int] | None:
    if Counter(map(key, targets)) == Counter(map(key, urls)):
        # Two spellings of a URL have the same page. If the server kept their texts, each still gets its own task.
        by_text = _pair_in_order(targets, urls, attrgetter("exact"))
        taken = set(by_text.values())
        targets = [one for one in targets if one.position not in by_text]
        urls = [one for one in urls if one.position not in taken]
        return by_text | _pair_in_order(targets, urls, key)
    # A server may answer equal targets with one task.
    positions = {key(one): one.position for one in urls}
    if len(positions) == len(urls) and positions.keys() == set(map(key, targets)):
        return {one.position: positions[key(one)] for one in targets}
    return None


def _pair_in_order(targets: list[_UrlForms], urls: list[_UrlForms], key: Callable[[_UrlForms], str]) -> dict[int, int]:
    """Pair targets with URLs of the same key, in their order. Some may stay without a pair."""
    positions: dict[str, deque[int]] = defaultdict(deque)
    for one in urls:
        positions[key(one)].append(one.position)
    return {one.position: positions[key(one)].popleft() for one in targets if positions[key(one)]}


def _fill_positions(placed: Mapping[int, int], number: int) -> list[int]:
    """Order `number` URLs, each once: first the placed URLs, then URLs whose own position is free, then the rest."""
    slots: dict[int, int] = {}
    rest = dict.fromkeys(range(number))
    for position, one in sorted(placed.items()):
        if one in rest:
            slots[position] = one
            del rest[one]
    for one in [one for one in rest if one not in slots]:
        slots[one] = one
        del rest[one]
    free = (position for position in itertools.count() if position not in slots)
    slots.update(zip(list(itertools.islice(free, len(rest))), rest, strict=True))
    return [slots[position] for position in sorted(slots)]
