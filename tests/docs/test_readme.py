"""Check the documents against the code. `python tests/docs/test_readme.py` writes the generated parts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import click
import pytest
from celery.schedules import crontab
from click.testing import CliRunner

import scrape_do_celery
from scrape_do_celery import RunState
from scrape_do_celery.cli import main
from scrape_do_celery.cli.exit_codes import ExitCode
from scrape_do_celery.cli.json_output import shapes_of
from scrape_do_celery.config.settings_table import settings_table

ROOT = Path(__file__).parents[2]
README, CLI, SETTINGS = ROOT / "README.md", ROOT / "docs" / "cli.md", ROOT / "docs" / "reference" / "settings.md"
DOCUMENTS = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

_TABLE = re.compile(r"(<!-- settings: .*? -->\n).*?(<!-- end of settings -->)", re.DOTALL)
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def settings_markdown():
    rows = (f"| `{name}` | {_value(default)} | {text} |" for name, default, text in settings_table())
    return "\n".join(["| variable | default | what it is |", "|---|---|---|", *rows, ""])


def _value(default):
    return default if " " in default or default == "none" else f"`{default}`"


def settings_page():
    return _TABLE.sub(lambda found: found[1] + settings_markdown() + found[2], SETTINGS.read_text())


def command_names(group=main, *names):
    """Yield the words of each command, also of the commands in a group."""
    for name, command in sorted(group.commands.items()):
        yield (*names, name)
        if isinstance(command, click.Group):
            yield from command_names(command, *names, name)


def find_command(*names):
    command = main
    for name in names:
        command = command.commands[name]
    return command


def help_of(*names):
    command = find_command(*names)
    # Click keeps the help option of the first caller, and Celery's command line names it differently.
    command._help_option = None
    answer = CliRunner().invoke(main, [*names, "--help"], prog_name="scrape-do", terminal_width=80)
    assert answer.exit_code == 0
    return answer.output


CLI_START = """# The commands

`celery -A yourapp scrape-do ...`, `flask scrape-do ...` and `manage.py scrape_do ...` run the same ones with your app.

## Output

Results go to stdout; progress, warnings and errors go to stderr. Progress is shown on a terminal only. With the extra
`cli` the progress is a bar. `NO_COLOR=1` switches colors off, and `TERM=dumb` the bar.

`--json` prints one object on one line. Its [shape](#json) is named below each command. An error prints no JSON, but a
line on stderr, and sets the exit code.

## Exit codes

| code | meaning |
|---|---|
{codes}
## Shell completion

Add a line to the file that your shell reads at its start:

| shell | file | line |
|---|---|---|
| Bash (4.4 or newer) | `~/.bashrc` | `eval "$(_SCRAPE_DO_COMPLETE=bash_source scrape-do)"` |
| Zsh | `~/.zshrc` | `eval "$(_SCRAPE_DO_COMPLETE=zsh_source scrape-do)"` |
| Fish | `~/.config/fish/completions/scrape-do.fish` | `_SCRAPE_DO_COMPLETE=fish_source scrape-do \\| source` |

"""
JSON_START = """## JSON

Amounts are in credits. Times are texts of ISO 8601, unless they are seconds. A field without a value is `null`. A later
version may add fields.

"""


def command_markdown(*names):
    shapes = [link_to_shape(one.__name__) for one in shapes_of(find_command(*names))]
    text = f"## {' '.join(('scrape-do', *names))}\n\n```text\n{help_of(*names)}```\n"
    # The second shape is that of a call with filters.
    return f"{text}\n`--json`: {'; with filters '.join(shapes)}\n" if shapes else text


def link_to_shape(name):
    title = name.removesuffix("Shape")
    return f"[{title}](#{title.lower()})"


def json_type(field):
    """Return the type of a field of a JSON schema in words."""
    if "anyOf" in field:
        return " or ".join(map(json_type, field["anyOf"]))
    if "$ref" in field:
        return link_to_shape(field["$ref"].rpartition("/")[2])
    if field.get("type") == "array":
        return f"list of {json_type(field['items'])}"
    words = {"string": "text", "null": "null", "integer": "integer", "number": "number", "boolean": "true or false"}
    return words[field["type"]] if "type" in field else "any JSON"


def shape_markdown(name, schema):
    rows = "".join(
        f"| `{field}` | {json_type(one)} | {one['description']} |\n" for field, one in schema["properties"].items()
    )
    table = f"| field | type | meaning |\n|---|---|---|\n{rows}"
    return f"### {name.removesuffix('Shape')}\n\n{schema['description']}\n\n{table}"


def json_markdown():
    schemas = {}
    for names in command_names():
        for shape in shapes_of(find_command(*names)):
            schema = shape.model_json_schema()
            schemas |= {shape.__name__: schema} | schema.get("$defs", {})
    return JSON_START + "\n".join(shape_markdown(name, schema) for name, schema in sorted(schemas.items()))


def cli_markdown():
    codes = "".join(f"| {int(code)} | {code.meaning} |\n" for code in ExitCode)
    pages = [command_markdown(*names) for names in [(), *command_names()]]
    return CLI_START.replace("{codes}", codes) + "\n".join([*pages, json_markdown()])


def test_the_settings_table_is_that_of_the_code():
    assert settings_page() == SETTINGS.read_text(), "run: python tests/docs/test_readme.py"


def test_the_commands_are_documented_word_for_word():
    assert cli_markdown() == CLI.read_text(), "run: python tests/docs/test_readme.py"


@pytest.mark.parametrize("names", list(command_names()), ids=" ".join)
def test_every_command_and_option_has_help(names):
    command = find_command(*names)
    assert command.get_short_help_str()
    assert [o.name for o in command.params if isinstance(o, click.Option) and not o.help] == []
    assert re.search(rf"(scrape-do |`){names[0]}\b", README.read_text())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_blocks_compile(path):
    for number, code in enumerate(_BLOCK.findall(path.read_text())):
        compile(code, f"{path.name}, block {number}", "exec")


def run_python(code):
    """Run code in a process of its own, beside the `celery_init_app` of Flask's documentation. Return its output."""
    paths = [ROOT / "examples" / "flask", *filter(None, [os.environ.get("PYTHONPATH")])]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SCRAPE_DO_")}
    environ["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, check=False, env=environ, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_flask_block_of_the_readme_makes_an_app_whose_workers_have_the_steps():
    (block,) = [code for code in _BLOCK.findall(README.read_text()) if "from flask import" in code]
    printed = run_python(
        f"from shop.background import celery_init_app\n{block}"
        "celery = app.extensions['celery']\n"
        "celery.loader.import_default_modules()\n"
        "print(celery.conf.broker_url, celery.conf.result_backend, app.extensions['scrape_do'].redis_url)\n"
        "print('scrape_do.submit_jobs' in celery.tasks)\n"
    )
    server = "redis://localhost:6379"
    assert printed.split() == [f"{server}/1", f"{server}/2", f"{server}/0", "True"]


def test_schedule_of_the_readme_starts_one_run_a_day():
    (call,) = re.findall(r"`(scheduled_run\(.*?\))`", README.read_text())
    names = {"scheduled_run": scrape_do_celery.scheduled_run, "crontab": crontab, "urls": ["https://a.example/"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entry = eval(call, names)
    assert (entry["schedule"].minute, entry["schedule"].hour) == ({0}, {6})


def test_names_of_the_package_in_the_readme_exist():
    text = README.read_text()
    named = set(re.findall(r"`(\w+(?:Error|Handle|Request|Result|Settings))`", text)) - {"ValueError", "TimeoutError"}
    for line in re.findall(r"from scrape_do_celery import (.*)", text):
        named |= {name.strip() for name in line.split(",")}
    assert len(named) > 15
    assert {name for name in named if not hasattr(scrape_do_celery, name)} == set()


def test_attributes_in_the_table_of_errors_exist():
    rows = re.findall(r"^\| `(\w+Error)` \|(.*)\|$", README.read_text(), re.MULTILINE)
    assert len(rows) > 10
    for name, data in rows:
        error = getattr(scrape_do_celery, name)
        assert {word for word in re.findall(r"`\.(\w+)`", data) if not hasattr(error, word)} == set(), name


def test_outcomes_in_the_glossary_are_those_of_the_code():
    text = (ROOT / "docs" / "glossary.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| **outcome**")]
    assert set(re.findall(r"`(\w+)`", line)) == {state.value for state in RunState if state.is_outcome}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


if __name__ == "__main__":
    SETTINGS.write_text(settings_page())
    CLI.write_text(cli_markdown())
