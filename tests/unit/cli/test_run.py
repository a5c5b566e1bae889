"""Test `scrape-do run` and `watch`, and the progress that they show."""

from __future__ import annotations

import io
import os
import signal
from datetime import UTC, datetime

import pytest

from scrape_do_celery import RunState, RunStatus, runs
from scrape_do_celery.cli import progress
from scrape_do_celery.cli.exit_codes import ExitCode, find_exit_code
from scrape_do_celery.cli.progress import BarView, LineView, ProgressFigures, QuietView, choose_view, track_items
from scrape_do_celery.cli.watching import watch_runs
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.rules.waits import WaitingFor, WaitKind

A, B = "https://a.example/", "https://b.example/"


def status(state=RunState.RUNNING, done=0, failed=0, total=2, wait=None, run_id="r"):
    waiting_for = None if wait is None else WaitingFor(*wait)
    now = datetime.now(UTC)
    return RunStatus(run_id, state, done, failed, 0, total, 0.0, (), now, None, None, waiting_for=waiting_for)


class FakeTerminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Replace stderr by a terminal of a width, and return its text."""

    def make(width=80, **variables):
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm", "COLUMNS": str(width), **variables}.items():
            monkeypatch.setenv(name, value)
        made = FakeTerminal()
        monkeypatch.setattr(progress.sys, "stderr", made)
        return made

    return make


def test_run_ends_with_the_pages_of_the_run(scrape_do, step_harness, at_sleep, end, tmp_path):
    at_sleep.append(end)
    answer = scrape_do("run", "-", "--out", tmp_path, "--geo-code", "us", input=f"{A}\n{B}\n")
    (run_id,) = step_harness.run_ids()
    assert answer.exit_code == 0, answer.output
    assert answer.stderr == "", "stderr is no terminal"
    assert f"run      {run_id}\noutcome  succeeded\n" in answer.stdout
    assert [line.split()[0] for line in answer.stdout.splitlines()[2:4]] == [A, B]
    assert [one.name for one in sorted(tmp_path.iterdir())] == ["0001-a-example.txt", "0002-b-example.txt"]


def test_run_of_lines_with_different_options_reports_each_run(scrape_do, at_sleep, end, tmp_path):
    (tmp_path / "urls.jsonl").write_text(f'"{A}"\n{{"url": "{B}", "super": true}}\n')
    at_sleep.append(end)
    answer = scrape_do("run", tmp_path / "urls.jsonl", "--out", tmp_path / "pages")
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.count("outcome  succeeded") == 2
    assert len(list((tmp_path / "pages").iterdir())) == 2


@pytest.mark.parametrize(
    ("outcome", "code"), [("failed", 1), ("lost", 1), ("canceled", 4), ("timed_out", 4), ("in_doubt", 5)]
)
def test_exit_code_is_that_of_the_outcome(scrape_do, at_sleep, end, outcome, code):
    at_sleep.append(lambda: end(outcome))
    assert scrape_do("run", A, B).exit_code == code


def test_gravest_outcome_decides_the_exit_code():
    assert find_exit_code([RunState.SUCCEEDED, RunState.CANCELED]) is ExitCode.STOPPED
    assert find_exit_code([RunState.FAILED, RunState.CANCELED, RunState.IN_DOUBT]) is ExitCode.IN_DOUBT
    assert find_exit_code([RunState.SUCCEEDED, RunState.RUNNING]) is ExitCode.NOT_ENDED
    assert find_exit_code([]) is ExitCode.SUCCESS
    assert {find_exit_code([one]) for one in RunState if not one.is_outcome} == {ExitCode.NOT_ENDED}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_goes_on_and_can_be_found_again(scrape_do, step_harness, at_sleep, number, code):
    before = signal.getsignal(signal.SIGTERM)
    at_sleep.append(lambda: os.kill(os.getpid(), number))
    answer = scrape_do("run", A, B)
    (run_id,) = step_harness.run_ids()
    assert answer.exit_code == code
    assert answer.stderr.lstrip("\n") == (
        "Stopped watching. The run goes on without this command, and workers collect its pages.\n"
        f"To come back: scrape-do watch {run_id}\nTo cancel:    scrape-do cancel {run_id}\n"
    )
    assert step_harness.read_run(run_id).stop_reason is None
    assert signal.getsignal(signal.SIGTERM) is before


def test_interruption_says_what_was_bought_in_each_stage(scrape_do, step_harness, monkeypatch, end):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("scrape_do_celery.cli.run.read_specs", interrupt)
        answer = scrape_do("run", A)
        assert (answer.exit_code, answer.stderr) == (130, "\nInterrupted. Nothing was bought.\n")
    with monkeypatch.context() as patch:
        patch.setattr(runs, "start_runs", interrupt)
        told = scrape_do("run", A).stderr.splitlines()
    run_id = told[1].split()[-1]
    assert told[1:] == [
        f"Interrupted while the start was under way. Look whether it was written: scrape-do watch {run_id}",
        f"To repeat the command without a second purchase, add --run-id {run_id}",
    ]
    assert step_harness.run_ids() == set()
    assert scrape_do("enqueue", A, B, "--run-id", run_id).stdout.strip() == run_id
    end()
    with monkeypatch.context() as patch:
        patch.setattr("scrape_do_celery.cli.run._print_results", interrupt)
        told = scrape_do("run", A, B, "--run-id", run_id).stderr
    assert told == f"\nInterrupted. The pages are still in the store: scrape-do result {run_id}\n"


def test_interruption_of_another_command_is_quiet(scrape_do, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "RunHandle", interrupt)
    answer = scrape_do("status", "r")
    assert (answer.exit_code, answer.output) == (130, "\n")


def test_watch_shows_the_end_of_runs(scrape_do, step_harness, at_sleep, end):
    run_id = scrape_do("enqueue", A, B).stdout.strip()
    at_sleep.append(end)
    answer = scrape_do("watch", run_id, run_id)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.count("state    succeeded") == 1
    assert answer.stdout.count("\nended    20") == 1
    assert scrape_do("watch", run_id).exit_code == 0
    assert "RunNotFoundError" in scrape_do("watch", "nope").stderr
    assert scrape_do("watch").exit_code == 2


def test_watch_ends_after_its_time(scrape_do):
    run_id = scrape_do("enqueue", A, B).stdout.strip()
    answer = scrape_do("watch", run_id, "--wait", 0)
    assert answer.exit_code == 3
    assert "state        queued" in answer.stdout


class Recorder(QuietView):
    def __init__(self):
        self.shown, self.notes = [], []

    def show(self, figures):
        self.shown.append(figures)

    def note(self, text):
        self.notes.append(text)


class Handle:
    """A handle with one status, or error, for each look."""

    def __init__(self, *answers):
        self.answers = list(answers)

    @property
    def status(self):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_short_absence_of_the_store_does_not_end_a_watch():
    away, view, clock = StoreUnavailableError("the store is starting"), Recorder(), Clock()
    handle = Handle(status(), away, away, status(RunState.SUCCEEDED, done=2))
    (last,) = watch_runs([handle], view, sleep=clock.sleep, clock=clock)
    assert last.has_ended
    assert view.notes == ["the store is away, and is asked again: the store is starting"] * 2
    with pytest.raises(StoreUnavailableError):
        watch_runs([Handle(away)], view, sleep=clock.sleep, clock=clock)
    with pytest.raises(StoreUnavailableError):
        watch_runs([Handle(status(), *[away] * 100)], view, sleep=clock.sleep, clock=clock)


def test_ended_run_is_not_read_again():
    clock = Clock()
    first, second = Handle(status(RunState.FAILED)), Handle(status(), status(RunState.SUCCEEDED))
    found = watch_runs([first, second], Recorder(), sleep=clock.sleep, clock=clock)
    assert [one.state for one in found] == [RunState.FAILED, RunState.SUCCEEDED]


def test_figures_of_runs_are_added_up():
    wait = (WaitKind.NO_WORKER, "no worker\x1b[2J")
    one = ProgressFigures.of([status(done=1, failed=1, total=5, wait=wait)])
    assert one == (2, 5, "running, 1 failed", "no worker [2J", {WaitKind.NO_WORKER}, "pages")
    two = ProgressFigures.of([status(done=1), status(RunState.QUEUED, wait=wait), status(wait=wait)])
    assert two == (1, 6, "2 running, 1 queued", "no worker [2J", {WaitKind.NO_WORKER}, "pages")


def test_view_is_what_stderr_can_show(terminal, monkeypatch):
    terminal()
    assert type(choose_view()) is BarView
    assert type(choose_view(quiet=True)) is QuietView
    terminal(TERM="dumb")
    assert type(choose_view()) is LineView
    terminal()
    monkeypatch.setattr(progress, "find_spec", lambda _: None)
    assert type(choose_view()) is LineView
    monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    assert type(choose_view()) is QuietView


def test_simple_terminal_gets_a_line_for_each_change(terminal):
    shown = terminal(TERM="dumb")
    view = choose_view()
    with view:
        for one in (
            status(RunState.QUEUED, wait=(WaitKind.IN_LINE, "9 jobs before it")),
            status(RunState.QUEUED, wait=(WaitKind.IN_LINE, "8 jobs before it")),
            status(done=1),
            status(done=1, failed=1),
        ):
            view.show(ProgressFigures.of([one]))
    assert shown.getvalue() == "0 of 2 pages, queued; waits: 9 jobs before it\n1 of 2 pages, running\n"


@pytest.mark.parametrize("width", [20, 59, 80, 200])
def test_bar_fits_a_terminal_of_any_width(terminal, width):
    shown = terminal(width)
    with choose_view() as view:
        view.show(ProgressFigures.of([status(RunState.QUEUED, total=0, wait=(WaitKind.NO_WORKER, "no worker [b]"))]))
        view.show(ProgressFigures.of([status(done=1)]))
    text = shown.getvalue()
    assert "waits: no worker" in text
    assert "1/2" in text
    assert ("\u2501" in text) is (width >= 60)
    assert text.endswith(("\x1b[2K", "\x1b[?25h", "\r", "\n")), "the cursor is back"


def test_no_color_keeps_the_bar_without_colors(terminal):
    shown = terminal(NO_COLOR="1")
    with choose_view() as view:
        view.show(ProgressFigures.of([status(done=1)]))
    assert "\x1b[3" not in shown.getvalue()
    assert "1/2" in shown.getvalue()


def test_pages_that_are_read_move_the_bar(terminal):
    shown = terminal()
    assert list(track_items("abc", 3, "pages written")) == ["a", "b", "c"]
    assert "2/3" in shown.getvalue()
    assert "pages written" in shown.getvalue()
