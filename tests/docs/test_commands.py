"""Check that each documented command parses with its real options, and that CI plays it.

`test_played_commands.py` plays the commands that readers type.
"""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
from importlib.util import find_spec
from typing import NamedTuple

import click
import pytest
import yaml
from celery.bin.celery import celery as celery_command

from scrape_do_celery.cli import main
from tests.docs.commands import ROOT, documented_commands, languages, untyped_blocks

COMMANDS = documented_commands()
TEXTS = {one.text: one for one in COMMANDS}
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


class Elsewhere(NamedTuple):
    """Commands that another part of CI plays, or that CI cannot play."""

    pattern: str
    reason: str
    #: the file that plays them, or a part of them, and a text in the file
    file: str
    text: str


ELSEWHERE = [
    Elsewhere(r"make demo.*", "a test plays the target", "tests/acceptance/test_make_demo.py", '"demo"'),
    Elsewhere(
        r"make (test|coverage|docs|imports|li\S+|lowest|matrix|dist|test-all|types)",
        "CI itself",
        ".ci/run",
        "make test-all",
    ),
    Elsewhere(r"make faults.*|.*tests\.faults .*", "takes an hour", "tests/faults/test_lab.py", "trials"),
    Elsewhere(r"make budgets.*|.*tests\.budgets .*", "takes long", "tests/budgets/test_soak.py", "soak"),
    Elsewhere(r"make wire|.*tests\.wire .*", "takes half an hour", "tests/wire/test_mutations.py", "a_share_of_all"),
    Elsewhere(r"make bench.*|.*-m benchmarks.*", "takes long", "tests/acceptance/test_benchmark.py", "--tiny"),
    Elsewhere(r"make newest", "needs other Pythons", "tests/docs/test_package.py", "find_python"),
    Elsewhere(r".*python -m (pytest|unittest).*", "CI itself", "Makefile", "-m pytest"),
    Elsewhere(r".*python (-m tests/?\.docs|tests/docs|docs/img)\S+.*", "tests compare the files", "Makefile", "tests:"),
    Elsewhere(
        r"python tests/support/catalogs\.py",
        "a test compares the files",
        "tests/unit/test_django_translations.py",
        "catalogs",
    ),
    Elsewhere(r"pip install .*", "needs an index; tests check the extras", "tests/docs/test_package.py", "extras_that"),
    Elsewhere(r"apt install .*", "needs root", "tests/support/debian_packages.py", "lua-check"),
    Elsewhere(r"python3 -m venv \.venv|\. \.venv/bin/activate", "Python's own", "Makefile", "-m venv"),
    Elsewhere(r"docker .*|git pull", "needs Docker", "tests/acceptance/test_compose.py", "ComposeServices"),
    Elsewhere(r"cp config/env\.example \.env", "needs Docker", "tests/unit/test_compose_file.py", "env.example"),
    Elsewhere(r"valkey-cli -e", "a part of a command", "docs/how-to/compose.md", "valkey-cli -e del"),
    Elsewhere(r"kubectl .*", "needs a cluster", "tests/docs/test_operation_pages.py", "scrape-do.yaml"),
    Elsewhere(r"celery inspect ping", "needs a cluster", "tests/docs/test_operation_pages.py", "inspect ping"),
    Elsewhere(r"curl -s .*/health/.*", "a test asks", "tests/integration/test_django_health.py", "health"),
    Elsewhere(r"uvicorn .*", "needs the packages of a user", "tests/acceptance/test_async_apps.py", "uvicorn"),
    Elsewhere(r"gunicorn .*", "a test starts it", "tests/support/webhook_receivers.py", "gunicorn"),
    Elsewhere(r"manage\.py (check|migrate|test.*)", "Django's own", "tests/acceptance/test_django.py", '"migrate"'),
    Elsewhere(r"manage\.py scrape_do_\w+", "a test calls them", "tests/acceptance/test_django.py", "scrape_do_status"),
    Elsewhere(r"celery -A worker beat", "a test starts the service", "tests/acceptance/test_compose.py", '"beat"'),
    Elsewhere(r"celery -A worker events --dump", "runs until Ctrl-C", "tests/acceptance/test_flower.py", "events"),
    Elsewhere(
        r"celery worker( --without-gossip)?", "a part of a command", "tests/support/pipeline.py", "--without-gossip"
    ),
    Elsewhere(r"python -m scrape_do_sandbox", "each test with a sandbox", "tests/conftest.py", "SandboxProcess("),
    Elsewhere(
        r"python -m scrape_do_celery", "each test with a command", "tests/support/pipeline.py", "scrape_do_celery"
    ),
]
#: Typed commands of this page are played by `docs/img/draw_terminal.py`, and its test.
TUTORIAL = "docs/tutorial/first-run.md"


def find_elsewhere(command):
    """Return the entry of a command that is not played as a documented command."""
    if command.scrape_do:
        return None
    text = shlex.join(shlex.split(command.text, comments=True))
    return next((one for one in ELSEWHERE if re.fullmatch(one.pattern, text, re.DOTALL)), None)


def ids(command):
    return f"{command.page}: {command.text.splitlines()[0]}"


SCRAPE_DO = [one for one in TEXTS.values() if one.scrape_do and "..." not in one.scrape_do]
CELERY = [one for one in TEXTS.values() if one.words[:1] == ["celery"] and "scrape-do" not in one.words]
OTHERS = [one for one in TEXTS.values() if not one.is_typed and one.scrape_do is None]


def find_command(group, words):
    """Return the command that words name, and its arguments."""
    while isinstance(group, click.Group) and words:
        group, words = group.commands[words[0]], words[1:]
    return group, words


@pytest.mark.parametrize("command", SCRAPE_DO, ids=ids)
def test_a_command_parses_with_its_real_options(command):
    found, arguments = find_command(main, [word.replace("<id>", "a1b2c3d4") for word in command.scrape_do])
    try:
        found.make_context(found.name, list(arguments), parent=click.Context(main))
    except (click.MissingParameter, click.exceptions.NoArgsIsHelpError, click.BadOptionUsage):
        # A text may name a command without its arguments.
        if command.is_typed:
            raise


@pytest.mark.parametrize("command", CELERY, ids=ids)
@pytest.mark.filterwarnings("ignore:The parameter .* is used more than once")
def test_a_command_of_celery_exists_with_its_options(command):
    words = command.words[3:] if command.words[1] == "-A" else command.words[1:]
    found = celery_command.commands[words[0]]
    if words[0] != "flower":  # Flower reads its options itself.
        found.make_parser(click.Context(found)).parse_args(list(words[1:]))


def test_targets_of_make_exist_and_pass_valid_arguments():
    texts = [one.text for one in TEXTS.values() if one.words[:1] == ["make"]]
    assert len(texts) > 15
    # Targets without variables are one call, because each start of make takes a tenth of a second.
    calls = [text.partition("#")[0].removeprefix("make ") for text in texts]
    calls = [" ".join(one for one in calls if "=" not in one), *(one for one in calls if "=" in one)]
    lines = "\n".join(f"make --always-make -n {call}" for call in calls)
    done = subprocess.run(["bash", "-e"], input=lines, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = re.findall(r"python -m ((?:benchmarks|tests\.\w+)\b[^\n;]*)", done.stdout)
    assert len(modules) > 5
    for line in set(modules):
        check_module(*shlex.split(line))


@pytest.mark.parametrize(
    "command", [one for one in TEXTS.values() if re.match(r"(.*/)?python3? (-m|\S*/)", one.text)], ids=ids
)
def test_modules_and_scripts_exist_with_their_options(command):
    _, *words = command.words
    if words[0] == "-m":
        check_module(*words[1:])
    else:
        assert (ROOT / words[0]).is_file()


def check_module(name, *arguments):
    """Parse the arguments of a module, if it has a parser for them."""
    assert find_spec(name), name
    if name.partition(".")[0] in {"benchmarks", "tests"}:
        is_package = find_spec(name).submodule_search_locations
        module = importlib.import_module(f"{name}.__main__" if is_package else name)
        if hasattr(module, "_parser"):
            module._parser().parse_args(list(arguments))


def test_files_that_commands_name_exist():
    folders = ("config/", "tests/", "docs/", "worker/", "examples/")
    named = [word for one in COMMANDS for word in one.words if word.startswith(folders)]
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_services_of_compose_exist():
    named = [
        re.findall(r"(?:(?:exec|stop|start|logs)|up(?: -\w+| --wait)*) (\w[\w-]*)|--scale (\w+)=|--profile (\w+)", text)
        for text in TEXTS
        if text.startswith("docker compose")
    ]
    words = {word for found in named for groups in found for word in groups if word}
    assert {"worker", "redis", "sandbox"} <= words
    profiles = {name for one in SERVICES["services"].values() for name in one.get("profiles", ())}
    assert words <= SERVICES["services"].keys() | profiles
    volumes = {f"{SERVICES['name']}_{name}" for name in SERVICES["volumes"]}
    assert {one for text in TEXTS for one in re.findall(r"scrape-do_[\w-]+", text)} <= volumes


@pytest.mark.parametrize("command", OTHERS, ids=ids)
def test_a_command_in_a_text_is_played(command):
    # A text repeats the command of a block, or a part of it, or CI plays the command elsewhere.
    typed = [shlex.join(one.words) for one in COMMANDS if one.is_typed]
    line = shlex.join(command.words)
    assert find_elsewhere(command) or any(one == line or one.startswith(f"{line} ") for one in typed)


@pytest.mark.parametrize("entry", ELSEWHERE, ids=lambda entry: entry.pattern)
def test_an_entry_of_commands_played_elsewhere_is_true(entry):
    assert entry.text in (ROOT / entry.file).read_text()
    assert any(find_elsewhere(one) is entry for one in COMMANDS), "no page has such a command: remove the entry"


def test_commands_stand_in_blocks_of_one_language():
    assert untyped_blocks() == []
    assert languages().isdisjoint({"sh", "bash", "shell", "zsh"})
