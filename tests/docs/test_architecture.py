"""Check docs/architecture.md against the code. `python -m tests.docs.test_architecture` writes the generated parts."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from scrape_do_celery.rules.states import TRANSITIONS
from scrape_do_celery.store import PartRecord, PartState, RunRecord
from scrape_do_celery.store.fields import OTHER_PART_FIELDS, OTHER_RUN_FIELDS, declared_fields
from scrape_do_celery.store.keys import declared_keys
from tests.docs.sequence import HOUSEKEEPING, POST, Call, lost_answer_markdown, record_run, run_markdown

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "scrape_do_celery"
SANDBOX = ROOT / "src" / "scrape_do_sandbox"
LUA = SOURCE / "store" / "lua"
PAGE = ROOT / "docs" / "architecture.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"

_PATH = re.compile(r"`([\w./-]+\.(?:py|lua|toml|md|json|yml))(?:::(\w+))?`")
_WRITES_STATE = {
    ".py": re.compile(r"\bto=PartState\.(\w+)"),
    ".lua": re.compile(r"'HSET', [^\n]*'state', '(\w+)'"),
}


# Generated tables


def keys_markdown():
    rows = [f"| `{one.pattern}` | {one.kind} | {one.content} | {one.expiry} |" for one in declared_keys()]
    return "\n".join(["| key | type | holds | expiry |", "|---|---|---|---|", *rows])


def fields_markdown(record, others):
    rows = [
        f"| `{one.name}` | {_type_cell(one, record)} | {one.meaning} | {'yes' if one.encrypted else ''} |"
        for one in (*declared_fields(record), *others)
    ]
    return "\n".join(["| field | type | meaning | encrypted |", "|---|---|---|---|", *rows])


def _type_cell(field, record):
    return f"`{field.type}`".replace("|", r"\|") + ("" if field.attribute else f", not in `{record.__name__}`")


def states_markdown():
    arrows = [f"  {one} --> {other}: {why}" for one, after in TRANSITIONS.items() for other, why in after.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", "  [*] --> queued", *arrows, "  done --> [*]", "```"])


def modules():
    """Return the modules of both packages. Empty ones, such as a folder's `__init__`, have no contents to describe."""
    found = [path for package in (SOURCE, SANDBOX) for path in sorted(package.rglob("*.py"))]
    paths = (path for path in found if "migrations" not in path.parts)
    return [path for path in paths if path.read_text().strip()]


def modules_markdown():
    rows = [f"| `{name_of(path)}` | {_first_line(path)} |" for path in modules()]
    return "\n".join(["| module | what it holds |", "|---|---|", *rows])


def name_of(path):
    """Return the path of a module as the page writes it."""
    return str(path.relative_to(SOURCE if path.is_relative_to(SOURCE) else SOURCE.parent))


def _first_line(path):
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0].replace("|", r"\|")


def scripts_markdown():
    """Return the table of the scripts, each with the commands that run it."""
    commands = {}
    for path in sorted((SOURCE / "store" / "commands").glob("*.py")):
        for name, body in re.findall(
            r"^class (\w+).*?$(.*?)(?=^class |\Z)", path.read_text(), re.DOTALL | re.MULTILINE
        ):
            for script in re.findall(r"^    script = \"(\w+)\"$", body, re.MULTILINE):
                commands.setdefault(script, []).append(f"`{name}`")
    rows = [
        f"| `{name_of(path)}` | {', '.join(commands[path.stem])} | {_head_sentence(path)} |"
        for path in sorted(LUA.glob("*.lua"))
    ]
    return "\n".join(["| script | command | what it does |", "|---|---|---|", *rows])


def libraries_markdown():
    """Return the table of the libraries that scripts include, each with its functions."""
    rows = []
    for path in sorted((LUA / "lib").glob("*.lua")):
        functions = re.findall(r"^local function (\w+)", path.read_text(), re.MULTILINE)
        rows.append(f"| `{name_of(path)}` | {', '.join(f'`{one}`' for one in functions)} | {_head_sentence(path)} |")
    return "\n".join(["| library | functions | what it holds |", "|---|---|---|", *rows])


def _head_sentence(path):
    """Return the first sentence of the comment at the head of a Lua file."""
    words = re.match(r"--(?:\[\[)? (.+?[.:])(?:\s+[A-Z`]|\n\n|\n-|\n\]\])", path.read_text(), re.DOTALL)[1]
    return " ".join(words.split())


def page():
    text = PAGE.read_text()
    generated = {
        "calls of a run": run_markdown(),
        "calls after a lost answer": lost_answer_markdown(),
        "states": states_markdown(),
        "keys": keys_markdown(),
        "fields of a run": fields_markdown(RunRecord, OTHER_RUN_FIELDS),
        "fields of a part": fields_markdown(PartRecord, OTHER_PART_FIELDS),
        "modules": modules_markdown(),
        "scripts": scripts_markdown(),
        "libraries": libraries_markdown(),
    }
    for name, made in generated.items():
        table = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text = table.sub(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text)
    return text


# The recording runs a worker in this process, and Celery's own warnings are no fault of the page.
recording = pytest.mark.filterwarnings("ignore::DeprecationWarning:celery", "ignore::DeprecationWarning:kombu")


@recording
def test_generated_parts_are_those_of_the_code():
    assert page() == PAGE.read_text(), "run: python -m tests.docs.test_architecture"


@recording
@pytest.mark.parametrize("fault", [None, "submit_answer_lost"])
def test_the_recorded_intent_is_written_and_checked_before_the_only_post(fault):
    calls = record_run(fault)
    intent, check = (calls.index(Call("worker", "store", name)) for name in ("WriteIntent", "CheckBeforeSend"))
    assert intent < check < calls.index(POST)
    assert calls.count(POST) == 1


def test_housekeeping_names_commands():
    defined = {name for path in (SOURCE / "store" / "commands").glob("*.py") for name in classes_in(path)}
    assert [name for name in HOUSEKEEPING if name not in defined] == []


# Text by hand


def by_hand():
    return PAGE.read_text().partition("## Redis keys")[0]


def resolve(name):
    return next((root / name for root in (SOURCE, SOURCE.parent, ROOT) if (root / name).exists()), None)


def classes_in(path):
    return re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE)


def names_in(path):
    """Return the names that a Python or Lua file defines, at any depth."""
    return set(re.findall(r"(?:def|class|function) (\w+)|^\s*(\w+)(?:: [^=\n]+)? = ", path.read_text(), re.MULTILINE))


def test_every_path_on_the_page_exists():
    named = _PATH.findall(by_hand())
    assert len(named) > 60
    assert [path for path, _ in named if resolve(path) is None] == []


def test_every_path_and_link_of_contributing_exists():
    text = CONTRIBUTING.read_text()
    named = [path for path, _ in _PATH.findall(text)] + re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert len(named) > 30
    assert [path for path in named if resolve(path) is None] == []


def test_every_target_of_make_in_contributing_exists():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"`make ([a-z-]+)", CONTRIBUTING.read_text())
    assert len(named) > 6
    assert [name for name in named if name not in targets] == []


def test_every_module_is_on_the_page():
    named = {path for path, _ in _PATH.findall(PAGE.read_text())}
    assert [path for each in modules() if (path := name_of(each)) not in named] == []


def test_no_row_of_a_generated_table_is_empty():
    texts = (modules_markdown(), scripts_markdown(), libraries_markdown())
    assert [row for text in texts for row in text.splitlines() if re.search(r"\| +\|", row)] == []


def test_every_script_is_on_the_page():
    named = {path for path, _ in _PATH.findall(PAGE.read_text())}
    assert [path for each in LUA.rglob("*.lua") if (path := name_of(each)) not in named] == []


def test_each_name_in_an_answer_is_in_a_file_that_the_answer_names():
    (section,) = re.findall(r"^## Questions.*?\n(.*?)^## ", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    rows = [line for line in section.splitlines() if line[:1] == "|"][2:]
    assert len(rows) >= 13
    for row in rows:
        sources = [resolve(path).read_text() for path, _ in _PATH.findall(row)]
        answer = row.split("|")[2]
        names = [name for name in re.findall(r"`(\w+)`", answer) if re.search(r"_|[a-z][A-Z]|^[A-Z]+$", name)]
        assert sources, row
        assert [name for name in names if not any(name in source for source in sources)] == [], row


@pytest.mark.parametrize("heading", ["The way of a run", "Where each guarantee is implemented"])
def test_each_function_is_in_its_module(heading):
    (section,) = re.findall(rf"^## {heading}\n(.*?)^## ", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line[:1] == "|"][2:]
    module, function = (2, 3) if heading == "The way of a run" else (1, 2)
    assert len(rows) >= 10
    for row in rows:
        path = resolve(row[module].strip("`"))
        defined = {name for pair in names_in(path) for name in pair}
        assert [name for name in re.findall(r"`(\w+)`", row[function]) if name not in defined] == [], row[module]


def test_each_test_of_a_guarantee_exists():
    tests = [(path, name) for path, name in _PATH.findall(PAGE.read_text()) if name]
    assert len(tests) > 15
    assert [name for path, name in tests if not re.search(rf"def {name}\b", resolve(path).read_text())] == []


# The states


def places():
    """Return the table of functions that change a state: module, states before, states after."""
    states = {state.value for state in PartState}
    for before, after, module in re.findall(r"^\| (.+) \| (.+) \| `(\S+)` \|$", by_hand(), re.MULTILINE):
        if set(named := re.findall(r"`(\w+)`", after)) <= states and named:
            yield module, _states(before), set(named)


def _states(cell):
    named = set(re.findall(r"`(\w+)`", cell))
    return {state.value for state in PartState} - named if cell.startswith("any but") else named


def test_every_state_has_transitions():
    assert set(TRANSITIONS) == set(PartState)


def test_transitions_are_those_of_the_places_that_change_a_state():
    made = {(one, other) for _, before, after in places() for one in before for other in after if one != other}
    assert made == {(one.value, other.value) for one, after in TRANSITIONS.items() for other in after}


def test_states_are_written_in_the_places_of_the_table_only():
    found = {}
    for path in SOURCE.rglob("*"):
        if path.suffix in _WRITES_STATE and (hits := _WRITES_STATE[path.suffix].findall(path.read_text())):
            written = {PartState[hit].value if path.suffix == ".py" else hit for hit in hits}
            found[str(path.relative_to(SOURCE))] = written
    assert found == {module: after for module, _, after in places()}


if __name__ == "__main__":
    PAGE.write_text(page())
