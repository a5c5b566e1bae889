"""The progress of runs on stderr: a bar on a terminal, lines on a simple terminal, and nothing in a pipe."""

from __future__ import annotations

import os
import sys
from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Self, TypeVar

import click

from scrape_do_celery.cli.output import is_terminal, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from rich.progress import Progress

    from scrape_do_celery.runs import RunStatus

T = TypeVar("T")

#: Terminals that cannot move the cursor, by their names in TERM.
_SIMPLE_TERMINALS: Final = frozenset({"", "dumb", "unknown"})
#: Columns of a terminal from which on a bar fits beside its text.
_WIDE: Final = 60


class ProgressFigures(NamedTuple):
    """The progress of some runs together, and what to say about it."""

    done: int
    total: int
    text: str
    #: why runs wait; empty if no run waits
    wait: str
    #: the kinds of the waits, which change less often than their texts
    wait_kinds: frozenset[str]
    #: what is counted
    unit: str = "pages"

    @classmethod
    def of(cls, statuses: Iterable[RunStatus]) -> Self:
        """Add the statuses of runs up."""
        found = list(statuses)
        failed = sum(one.failed for one in found)
        states = Counter(one.state.value for one in found)
        shown = [name if len(found) == 1 else f"{number:,} {name}" for name, number in states.items()]
        waits = [one.waiting_for for one in found if one.waiting_for is not None]
        return cls(
            done=sum(one.done for one in found) + failed,
            total=sum(one.total for one in found),
            text=", ".join([*shown, *([f"{failed:,} failed"] if failed else [])]),
            wait=printable("; ".join(dict.fromkeys(map(str, waits)))),
            wait_kinds=frozenset(one.kind for one in waits),
        )


class ProgressView(Protocol):
    """A place that shows progress. The view is open within its `with` block."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, figures: ProgressFigures) -> None:
        """Show figures."""
        ...

    def note(self, text: str) -> None:
        """Show a line that stays."""
        ...


class QuietView:
    """A view that shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, figures: ProgressFigures) -> None:
        """Ignore the figures."""

    def note(self, text: str) -> None:
        """Ignore the text."""


class LineView(QuietView):
    """A view that prints a line if the state of the runs or the reason of a wait changes."""

    def __init__(self) -> None:
        self._last: tuple[str, frozenset[str]] | None = None

    def show(self, figures: ProgressFigures) -> None:
        """Print the figures if they are news. Each finished page would be too many lines."""
        news = (figures.text.partition(",")[0], figures.wait_kinds)
        if news != self._last:
            self._last = news
            wait = f"; waits: {figures.wait}" if figures.wait else ""
            total = f" of {figures.total:,}" if figures.total else ""
            self.note(f"{figures.done:,}{total} {figures.unit}, {figures.text}{wait}")

    def note(self, text: str) -> None:
        """Print the text."""
        click.echo(printable(text), err=True)


class BarView(QuietView):
    """A view with a bar of rich. The bar vanishes at the end, and the lines of `note` stay."""

    def __init__(self) -> None:
        self._progress = _make_bar()
        self._task = self._progress.add_task("", total=None)
        self._kinds = frozenset[str]()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, figures: ProgressFigures) -> None:
        """Move the bar. A new reason of a wait is a line of its own, because the bar has no room for it."""
        self._progress.update(self._task, completed=figures.done, total=figures.total or None, description=figures.text)
        if figures.wait_kinds - self._kinds:
            self.note(f"waits: {figures.wait}")
        self._kinds = figures.wait_kinds

    def note(self, text: str) -> None:
        """Print the text above the bar."""
        self._progress.console.print(printable(text), markup=False, highlight=False)


def _make_bar() -> Progress:
    # Import late: a pipe needs no rich, and rich loads slowly.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    console = Console(file=sys.stderr)
    columns: list[Any] = [MofNCompleteColumn()]
    if console.width >= _WIDE:
        columns = [BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
    return Progress(*columns, text, console=console, transient=True)


def choose_view(*, quiet: bool = False) -> ProgressView:
    """Return the view that stderr can show."""
    # The run is bought by now: if stderr is closed, its id must still be printed.
    if quiet or not is_terminal(sys.stderr):
        return QuietView()
    if os.environ.get("TERM", "") in _SIMPLE_TERMINALS and os.name != "nt":
        return LineView()
    return BarView() if find_spec("rich") else LineView()


def track_items(items: Iterable[T], total: int, text: str) -> Iterator[T]:
    """Yield the items, and show how many of them were taken."""
    with choose_view() as view:
        for number, item in enumerate(items):
            view.show(ProgressFigures(number, total, text, "", frozenset()))
            yield item
