"""Count habits of prose that make readers stumble. `python -m tests.docs.prose --write` lowers the allowed numbers.

The texts are docstrings, comments and messages of Python files, comments of Lua files, and paragraphs of Markdown.
`prose_allowed.json` has a number for each habit and area that is above its limit. The numbers only go down: this module
never raises one, and `test_prose.py` fails if a number is above the count.
"""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import tokenize
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ALLOWED = Path(__file__).parent / "prose_allowed.json"

#: Area -> folders and files. Counts are kept per area, never per file, so that a file may move inside its area.
AREAS = {
    "src": ("src",),
    "tests": ("tests",),
    "docs": ("docs", "README.md", "CONTRIBUTING.md"),
    "application": ("config", "tasks", "worker", "examples", "benchmarks"),
}
#: Words of a sentence at most, in the docs.
MAX_WORDS = 40
#: String literals of tests are data. Elsewhere a user may read them: messages, help, descriptions of settings.
_DATA_IN_STRINGS = {"tests"}
_SKIPPED = {"migrations", "results", "data", "__pycache__", "node_modules"}


@dataclass(frozen=True)
class Habit:
    """A pattern of sentences, and its limit per 1,000 sentences: twice the highest figure of the reference projects."""

    pattern: re.Pattern[str]
    limit: float
    areas: tuple[str, ...] = tuple(AREAS)

    def is_in(self, sentence):
        return self.pattern.search(sentence) is not None


HABITS = {
    # A question may start with such a word.
    "relative start": Habit(re.compile(r"^(What|Who|Whoever|Whatever|Whose|Which)\b(?![^?]*\?)"), 4),
    "indefinite subject": Habit(re.compile(r"\b(who|what|which)ever\b", re.IGNORECASE), 5),
    "condition by where": Habit(re.compile(r"\bwhere (there|it|that|none|nothing|one)\b", re.IGNORECASE), 4),
    "unnamed quantity": Habit(re.compile(r"\bso (many|long|often|much)\b(?! as\b)", re.IGNORECASE), 1),
    "passive duty": Habit(
        re.compile(r"\b(is|are|was|were) to (be|end|act|have|ring|look|wait|take|make|stop)\b", re.IGNORECASE), 1
    ),
    "noun by relative clause": Habit(re.compile(r"\b(one|those) (that|who|which|whose)\b", re.IGNORECASE), 2.2),
    # Twice procrastinate's 42.5; dramatiq has 76. A pronoun is allowed if its noun stands in the same sentence.
    "pronoun start": Habit(re.compile(r"^(It|They|One|That|This|These|Those)\b(?![^?]*\?)"), 85),
    "long sentence": Habit(re.compile(rf"^(?:\S+\s+){{{MAX_WORDS}}}\S"), 0, ("docs",)),
}


@dataclass(frozen=True)
class Sentence:
    """A sentence, with the position and the kind of its text."""

    path: str
    line: int
    kind: str
    text: str

    def __str__(self):
        return f"{self.path}:{self.line} ({self.kind}): {self.text[:110]}"


# Texts: (line, kind, text) of one source


def python_texts(source, *, strings=True):
    tree = ast.parse(source)
    docstrings = {
        id(node.value): node.value.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    for node in ast.walk(tree):
        if id(node) in docstrings:
            yield from _paragraphs(node.lineno, "docstring", ast.literal_eval(node))
    if strings:
        yield from _Messages(docstrings).of(tree)
    yield from _comments(source)


class _Messages(ast.NodeVisitor):
    """Visit string literals of more than three words: messages of log calls and errors, and other texts."""

    _LOG = re.compile(r"^(debug|info|warning|error|exception|critical|log)$")
    _ERROR = re.compile(r"(Error|Warning|Exception|Exit|warn|echo)$")

    def __init__(self, docstrings):
        self._docstrings, self._kind, self._found = docstrings, "text", []

    def of(self, tree):
        self.visit(tree)
        return self._found

    def visit_Call(self, node):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        is_log = isinstance(node.func, ast.Attribute) and self._LOG.match(name)
        self._inside(node, "log" if is_log else "error" if self._ERROR.search(name) else self._kind)

    def visit_Raise(self, node):
        self._inside(node, "error")

    def visit_Constant(self, node):
        if isinstance(node.value, str) and id(node) not in self._docstrings:
            self._keep(node.lineno, node.value)

    def visit_JoinedStr(self, node):
        self._keep(node.lineno, "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values))
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                self.visit(value.value)

    def _inside(self, node, kind):
        before, self._kind = self._kind, kind
        self.generic_visit(node)
        self._kind = before

    def _keep(self, line, text):
        if len(text.split()) > 3:
            self._found += _paragraphs(line, self._kind, text)


def _comments(source):
    """Return comments as texts. Comments on consecutive lines are one text if these lines hold nothing else."""
    block, start, last = [], 0, -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, text = token.start[0], _comment_text(token.string)
        if block and (line != last + 1 or token.line[: token.start[1]].strip()):
            yield start, "comment", " ".join(block)
            block = []
        start = start if block else line
        block.append(text)
        last = -1 if token.line[: token.start[1]].strip() else line
    if block:
        yield start, "comment", " ".join(block)


def _comment_text(comment):
    """Strip the marker and directives from a comment. The reason of a `noqa` stays."""
    text = comment.lstrip("#: ")
    return re.sub(r"^(noqa|type|pragma|fmt|ruff)\b:?[^(]*", "", text).strip("() ")


def lua_texts(source):
    block, start = [], 0
    for number, line in enumerate([*source.splitlines(), ""], 1):
        code, mark, comment = line.partition("--")
        if mark and not code.strip():
            start = start if block else number
            block.append(comment.lstrip("-[ ").rstrip("] "))
            continue
        if block:
            yield start, "comment", " ".join(block)
            block = []
        if mark:
            yield number, "comment", comment.strip()


def markdown_texts(source):
    """Return paragraphs and list items. Code blocks, tables, headings and HTML comments are no prose."""
    text = re.sub(r"^```.*?^```|<!--.*?-->", _blank_lines, source, flags=re.DOTALL | re.MULTILINE)
    yield from _paragraphs(1, "paragraph", re.sub(r"^ {4,}(?![-*\d]).*$", "", text, flags=re.MULTILINE))


def _blank_lines(found):
    return "\n" * found[0].count("\n")


_STARTS_BLOCK = re.compile(r"^\s*(?:[-*+]|\d+\.)\s+|^\s*>\s?")
_NO_PROSE = re.compile(r"^\s*(?:\||#{1,6} |[-=]{3,}$|$)")


def _paragraphs(line, kind, text):
    block, start = [], line
    for number, each in enumerate([*text.splitlines(), ""], line):
        is_item = _STARTS_BLOCK.match(each)
        if block and (is_item or _NO_PROSE.match(each)):
            yield start, kind, " ".join(block)
            block = []
        if not _NO_PROSE.match(each):
            start = start if block else number
            block.append(_STARTS_BLOCK.sub("", each).strip())
    # The last line is empty, so that no block is left.


_READERS = {".py": python_texts, ".lua": lua_texts, ".md": markdown_texts}


def sentences_of(path, source, *, strings=True):
    """List the sentences of more than two words. The suffix of the path names the language."""
    suffix = Path(path).suffix
    texts = python_texts(source, strings=strings) if suffix == ".py" else _READERS[suffix](source)
    for line, kind, text in texts:
        for sentence in re.split(r"(?<=[.:;?!])\s+", " ".join(text.split())):
            if len(sentence.split()) > 2:
                yield Sentence(str(path), line, kind, sentence.lstrip("*_("))


def habits_of(path, source):
    """List `(habit, sentence)` of one source, of all areas' habits."""
    return [(name, s) for s in sentences_of(path, source) for name, habit in HABITS.items() if habit.is_in(s.text)]


# Areas


def files_of(area):
    for place in map(ROOT.joinpath, AREAS[area]):
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.suffix in _READERS and path.is_file() and not _SKIPPED & set(path.relative_to(ROOT).parts):
                yield path


@cache
def sentences_in(area):
    return [
        sentence
        for path in files_of(area)
        for sentence in sentences_of(path.relative_to(ROOT), path.read_text(), strings=area not in _DATA_IN_STRINGS)
    ]


def hits_in(area, habit):
    """List the sentences of an area that have a habit, or none if the habit is not counted in the area."""
    is_in = HABITS[habit].is_in
    return [sentence for sentence in sentences_in(area) if is_in(sentence.text)] if area in HABITS[habit].areas else []


def is_within_limit(area, habit):
    return 1000 * len(hits_in(area, habit)) <= HABITS[habit].limit * len(sentences_in(area))


def read_allowed():
    return json.loads(ALLOWED.read_text())


def complaint(hits, allowed, *, is_within_limit, name="", places=5):
    """Return an error text for the number of hits of one habit in one area, or an empty text."""
    found = len(hits)
    if is_within_limit:
        return "" if allowed is None else f"{name}: within the limit; take its entry out of prose_allowed.json"
    if found > (allowed or 0):
        crowd = Counter(hit.path for hit in hits)
        # The new sentences are not known. Hits in the files with the fewest hits are more likely new.
        some = "\n  ".join(str(hit) for hit in sorted(hits, key=lambda hit: (crowd[hit.path], hit.path))[:places])
        return f"{name}: {found} sentences, {allowed or 0} are allowed; rephrase, such as\n  {some}"
    if found < allowed:
        return f"{name}: {found} sentences, {allowed} are allowed; lower the number to {found}"
    return ""


def lowered(allowed):
    """Return the table of allowed numbers after lowering. No number is raised, and no entry is added."""
    return {
        area: {
            habit: min(number, len(hits_in(area, habit)))
            for habit, number in numbers.items()
            if not is_within_limit(area, habit)
        }
        for area, numbers in allowed.items()
    }


def main(arguments):
    if "--write" in arguments:
        ALLOWED.write_text(json.dumps(lowered(read_allowed()), indent=2) + "\n")
    for area in AREAS:
        print(f"{area}: {len(sentences_in(area))} sentences")
        for habit, rule in HABITS.items():
            hits = hits_in(area, habit)
            rate = 1000 * len(hits) / max(1, len(sentences_in(area)))
            if area in rule.areas:
                print(f"{len(hits):6} {rate:6.1f} per 1,000 (limit {rule.limit:g})  {habit}")
            if "--list" in arguments:
                print(*(f"       {hit}" for hit in hits), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
