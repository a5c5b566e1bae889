"""Test the sources of targets of `scrape-do enqueue`, `run` and `plan`."""

from __future__ import annotations

import json

import pytest

from scrape_do_celery import runs
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.store.commands.runs import ReadSpec

A, B, C = "https://a.example/", "https://b.example/", "https://c.example/"


@pytest.fixture
def spec_of(step_harness):
    return lambda run_id: step_harness.run(ReadSpec(run_id, 1))


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def start(scrape_do, *arguments, **options):
    answer = scrape_do("enqueue", *arguments, **options)
    assert answer.exit_code == 0, answer.output
    return answer.stdout.split()


def test_urls_files_and_stdin_are_one_run_in_the_order_of_the_arguments(scrape_do, spec_of, file):
    table = file("urls.csv", f"id,url\r\n1,{B}\r\n")
    (run_id,) = start(scrape_do, "-", C, table, input=f"\ufeff# shops\n\n{A}\n")
    assert spec_of(run_id).request.targets == [A, C, B]


def test_file_of_a_spreadsheet_is_read(scrape_do, spec_of, file):
    (run_id,) = start(scrape_do, file("urls.txt", f"link;id\r\n{A};1\r\n".encode("utf-16")), "--column", "link")
    assert spec_of(run_id).request.targets == [A]


def test_lines_with_different_options_are_runs_of_their_own(scrape_do, spec_of, file):
    lines = [{"url": A, "geo_code": "de"}, {"url": B, "meta": {"id": 7}}, {"url": C, "geo_code": "de", "meta": 1}]
    path = file("urls.jsonl", "\n".join(map(json.dumps, lines)))
    german, other = start(scrape_do, path, "--geo-code", "us", "--tag", "shop")
    assert (spec_of(german).request.targets, spec_of(german).request.geo_code) == ([A, C], "de")
    assert (spec_of(other).request.targets, spec_of(other).request.geo_code) == ([B], "us")
    assert spec_of(german).inputs.metas == (None, "1")
    assert [tuple(spec_of(one).tags) for one in (german, other)] == [("shop",), ("shop",)]


def test_sample_of_the_targets_is_bought(scrape_do, spec_of, file):
    path = file("urls.txt", "".join(f"https://a.example/{number}\n" for number in range(100)))
    first, second, third = (
        spec_of(start(scrape_do, path, "--sample", 5, *seed)[0]).request.targets for seed in ((), (), ("--seed", 2))
    )
    assert first == second != third
    assert len(first) == 5


@pytest.mark.parametrize("fields", [{"targets": [A, B]}, {"plugin": {"key": "google/search", "params": [{"q": "a"}]}}])
@pytest.mark.parametrize("sources", [(), (C,)])
def test_sample_of_a_request_file_is_refused(scrape_do, step_harness, file, fields, sources):
    request = file("r.json", json.dumps(fields))
    answer = scrape_do("enqueue", *sources, "--request", request, "--sample", 1)
    assert (answer.exit_code, "leave targets and plugin out of the request file" in answer.stderr) == (2, True)
    assert step_harness.redis.keys() == []


def test_dedupe_buys_equal_lines_once(scrape_do, spec_of, file):
    (run_id,) = start(scrape_do, file("urls.txt", f"{A}\n{B}\n{A}\n"), "--dedupe")
    assert spec_of(run_id).request.targets == [A, B]


@pytest.mark.parametrize(
    ("name", "content", "options", "text"),
    [
        (
            "urls.txt",
            f"{A}\nhtp://x\n",
            (),
            "urls.txt': line 2 'htp://x' is not an absolute http or https URL; nothing ",
        ),
        ("urls.txt", "", (), "urls.txt' has no URL"),
        ("urls.txt", "# nothing\n\n", (), "urls.txt' has no URL"),
        ("urls.txt", b"\x89PNG\r\n\x1a\n\0\0", (), "urls.txt': line 1 is not utf-8 text (byte 0x89)"),
        ("urls.txt", b"MZ\0\0", (), "urls.txt': line 1 holds a zero byte: the file is not text"),
        ("urls.csv", f"id,link\n1,{A}\n", (), "line 1 has no column 'url'"),
        ("urls.jsonl", f'"{A}"', ("--column", "url"), "is read as jsonl, which has no columns"),
        ("urls.jsonl", '{"url": "https://a.example/", "geo_code": "usa"}', (), "urls.jsonl, line 1 and each line with"),
    ],
)
@pytest.mark.parametrize("command", ["enqueue", "plan", "run"])
def test_wrong_file_is_named_and_nothing_is_bought(
    scrape_do, step_harness, file, command, name, content, options, text
):
    answer = scrape_do(command, A, file(name, content), *options)
    (line,) = answer.stderr.splitlines()
    assert line.startswith("Error: ")
    assert text in line
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert (step_harness.redis.keys(), step_harness.sent) == ([], [])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((A, "ftp://user:secret@b.example"), "argument 2: 'ftp://***@b.example' is not an absolute http or https URL"),
        (("example.com",), "'example.com' is neither a URL nor a file; a URL begins with http:// or https://"),
        (("/",), "'/' is a folder: name a file in it"),
        (("-", "-"), "- is stdin, which can be read once: give - once"),
        (("-",), "'stdin' has no URL"),
    ],
)
def test_wrong_source_is_named(scrape_do, arguments, text):
    answer = scrape_do("enqueue", *arguments, input="")
    assert answer.exit_code == 2
    assert text in answer.stderr


def test_terminal_is_told_that_the_command_waits_for_it(scrape_do, monkeypatch):
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    answer = scrape_do("plan", "-", input=f"{A}\n")
    assert answer.stderr.startswith("Reading URLs from the terminal, one on each line. Ctrl-D ends them.\n")


def test_options_that_several_runs_cannot_share_are_refused(scrape_do, step_harness, file):
    lines = file("urls.jsonl", f'"{A}"\n{{"url": "{B}", "super": true}}\n')
    request = file("r.json", json.dumps({"targets": [C]}))
    for options, text in (
        (("--max-credits", 5), "--max-credits limits one run"),
        (("--idempotency-key", "k"), "--idempotency-key names one"),
        (("--run-id", "r"), "the call starts 2 run(s): pass --run-id for each of them, or not at all"),
        (("--request", request), "so the request file must not have targets"),
    ):
        answer = scrape_do("enqueue", lines, *options)
        assert (answer.exit_code, text in answer.stderr) == (2, True), answer.output
    assert step_harness.redis.keys() == []


def test_plan_adds_the_runs_of_a_file_up(scrape_do, file):
    lines = file("urls.jsonl", f'"{A}"\n"{A}"\n{{"url": "{B}", "super": true}}\n')
    shown = scrape_do("plan", lines).stdout.splitlines()
    assert shown[:5] == [
        "runs          2",
        "targets       3",
        "duplicates    1; --dedupe buys each of them once",
        "tasks to buy  3",
        "jobs          2",
    ]
    found = json.loads(scrape_do("plan", lines, "--json").stdout)
    assert (found["runs"], found["targets"], found["estimate"]["expected"]) == (2, 3, 12)


def test_answer_that_was_lost_names_the_ids_of_all_runs(scrape_do, file, monkeypatch):
    lines = file("urls.jsonl", f'"{A}"\n{{"url": "{B}", "super": true}}\n')
    given = []

    def fail(_, keys, run_ids):
        given.append((keys, run_ids))
        raise StoreUnavailableError("no answer", "", ["r1", "r2"], True)

    monkeypatch.setattr(runs, "start_runs", fail)
    answer = scrape_do("enqueue", lines, "--run-id", "r1", "--run-id", "r2")
    assert (answer.exit_code, given) == (1, [([None, None], ("r1", "r2"))])
    assert "to repeat the command without a second purchase, add --run-id r1 --run-id r2" in answer.stderr
