"""Test `scrape-do export`, and that each example of the page about exports works."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from scrape_do_celery.cli import main
from scrape_do_celery.cli.shapes import ExportShape

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "export.md").read_text()
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"^\$ scrape-do (.*)$", re.MULTILINE)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch, step_harness, start_run):
    monkeypatch.chdir(tmp_path)


def scrape_do(*arguments, code=0):
    answer = CliRunner().invoke(main, list(map(str, arguments)))
    assert answer.exit_code == code, answer.output
    return answer


def test_figures_of_the_export_are_printed(make_run):
    make_run([{"content": "a"}, {"content": None, "status": "error"}])
    printed = scrape_do("export", "r", "--to", "a.jsonl").output
    size = Path("a.jsonl").stat().st_size
    assert [line.split(maxsplit=1) for line in printed.splitlines()] == [
        ["run", "r"],
        ["to", "a.jsonl"],
        ["format", "jsonl"],
        ["rows", "2, 1 of them failed"],
        ["bytes", f"{size:,}"],
    ]


def test_stdout_gets_the_rows_and_nothing_else(many_pages):
    lines = scrape_do("export", "r", "--to", "-", "--format", "jsonl", "--no-content").stdout_bytes.splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(1, 8))
    for option in ("--overwrite", "--json"):
        answer = scrape_do("export", "r", "--to", "-", "--format", "csv", option, code=2)
        assert "none of --rows-per-shard" in answer.output


def test_json_has_the_figures(many_pages):
    answer = scrape_do("export", "r", "--to", "a.csv", "--json")
    found = ExportShape.model_validate_json(answer.stdout, strict=True)
    assert (found.run_id, found.to, found.format, found.rows, found.failed) == ("r", "a.csv", "csv", 7, 0)
    assert found.bytes == Path("a.csv").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--to", "a.txt"], 2, "no suffix that names a format"),
        (["--to", "a.jsonl", "--format", "xml"], 2, "'xml' is not one of"),
        (["--to", "a", "--format", "csv", "--rows-per-shard", "0"], 2, "0 is not in the range x>=1"),
        (["--to", "-", "--format", "files"], 2, "files needs a folder"),
        (["--to", "mine.csv"], 1, "mine.csv exists already"),
        ([], 2, "Missing option '--to'"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(many_pages, tmp_path, arguments, code, text):
    Path("mine.csv").write_text("mine")
    assert text in scrape_do("export", "r", *arguments, code=code).output
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


def test_a_live_run_exits_with_3(make_run):
    make_run([{"content": "a"}, None], live=True)
    assert "its export would lack pages" in scrape_do("export", "r", "--to", "a.csv", code=3).output
    scrape_do("export", "r", "--to", "a.csv", "--partial")


def test_examples_of_the_page_work(many_pages):
    pytest.importorskip("fsspec")
    pytest.importorskip("pyarrow")
    names = {"run_id": "r"}
    blocks = _BLOCK.findall(PAGE)
    for block in blocks:
        # The service of the example is one on this machine.
        exec(compile(block.replace("s3://", "memory://"), "export.md", "exec"), names)
    assert (names["report"].rows, len(names["rows"]), len(blocks)) == (7, 7, 6)
    assert names["prices"]["kwargs"]["request"]["export"]["to"].endswith("/{schedule}/{time}.jsonl")
    assert names["handle"].status.export.state == "waiting"


def test_commands_of_the_page_work(many_pages):
    commands = _COMMAND.findall(PAGE)
    for command in commands:
        scrape_do(*shlex.split(command.replace("$RUN_ID", "r")))
    assert len(commands) == 3
