"""The exit codes of all commands. The help of `scrape-do` and the page of the commands show this table."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, Self

from scrape_do_celery.rules.outcomes import RunState

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(IntEnum):
    """The exit codes, each with its meaning."""

    #: a few words for the help
    summary: str
    #: the whole meaning, for the documentation
    meaning: str

    def __new__(cls, code: int, summary: str, meaning: str) -> Self:
        """Make a code with its meaning."""
        made = int.__new__(cls, code)
        made._value_ = code
        made.summary, made.meaning = summary, meaning
        return made

    SUCCESS = (
        *(0, "success"),
        "The command did its work. A run that the command reports has succeeded; single pages may have failed.",
    )
    FAILURE = 1, "an error, or a failed run", "An error, or a reported run has failed, is lost or is poisoned."
    USAGE = 2, "a wrong call or input", "The call or its input is wrong. Nothing was written or bought."
    NOT_ENDED = 3, "the run has not ended", "A reported run has not ended, and goes on."
    STOPPED = 4, "a stopped run", "A reported run is canceled, has timed out, or was refused by a budget."
    IN_DOUBT = (
        *(5, "a run in doubt"),
        "A job may have been bought, and nobody knows it. Read `scrape-do ledger` before you buy the same again.",
    )
    INTERRUPTED = 130, "ended by Ctrl-C", "Ctrl-C ended the command. Runs that it started go on."
    BROKEN_PIPE = 141, "the output was closed", "The reader of the output closed the pipe, as `head` does."
    TERMINATED = 143, "ended by SIGTERM", "SIGTERM ended the command. Runs that it started go on."


#: The exit codes of outcomes. All other outcomes are failures.
_OF_OUTCOMES: Final = {
    RunState.SUCCEEDED: ExitCode.SUCCESS,
    RunState.CANCELED: ExitCode.STOPPED,
    RunState.TIMED_OUT: ExitCode.STOPPED,
    RunState.BUDGET_EXCEEDED: ExitCode.STOPPED,
    RunState.IN_DOUBT: ExitCode.IN_DOUBT,
}
#: The order of what a caller must know first, if runs end differently.
_ORDER: Final = (ExitCode.IN_DOUBT, ExitCode.FAILURE, ExitCode.STOPPED, ExitCode.NOT_ENDED, ExitCode.SUCCESS)


def find_exit_code(states: Iterable[RunState]) -> ExitCode:
    """Return the exit code of a command that reports runs in these states. The gravest state decides."""
    return find_gravest(
        _OF_OUTCOMES.get(one, ExitCode.FAILURE) if one.is_outcome else ExitCode.NOT_ENDED for one in states
    )


def find_gravest(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the code that a caller must know first."""
    return min(codes, key=_ORDER.index, default=ExitCode.SUCCESS)


def describe_exit_codes() -> str:
    """Return the lines of the help that list the codes. The mark keeps click from joining the lines."""
    rows = "\n".join(f"  {int(code):<4} {code.summary}" for code in ExitCode)
    return f"\b\nExit codes:\n{rows}"
