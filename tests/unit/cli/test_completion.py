"""Test what shells ask for when a user presses Tab."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from scrape_do_celery.cli import main
from tests.docs.test_readme import CLI_START


def complete(words, shell="zsh"):
    environ = {"_SCRAPE_DO_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    answer = CliRunner().invoke(main, [], prog_name="scrape-do", env=environ)
    return answer.stdout.splitlines()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_documented_line_prints_a_script_of_the_shell(shell):
    assert f"_SCRAPE_DO_COMPLETE={shell}_source scrape-do" in CLI_START
    environ = {"_SCRAPE_DO_COMPLETE": f"{shell}_source"}
    script = CliRunner().invoke(main, [], prog_name="scrape-do", env=environ).stdout
    assert f"_SCRAPE_DO_COMPLETE={shell}_complete" in script


def test_commands_options_and_files_are_completed():
    assert complete("scrape-do en")[:2] == ["plain", "enqueue"]
    assert complete("scrape-do budgets re")[1::3] == ["remove", "resume"]
    assert complete("scrape-do run --col")[1] == "--column"
    assert complete("scrape-do run --format js")[:2] == ["plain", "jsonl"]
    assert complete("scrape-do run url")[:2] == ["file", "url"]
