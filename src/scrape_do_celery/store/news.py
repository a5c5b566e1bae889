"""The operations of telling whoever shows runs that one of them has moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrape_do_celery.store.op import Op

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scrape_do_celery.store.keys import Keys

#: Seconds after which a run is handed out again, where nobody said that he had told of it.
_AGAIN = 30.0


@dataclass(frozen=True, slots=True)
class Moved:
    """Runs that have moved, and the mark of this look by which they are crossed off."""

    mark: str
    run_ids: tuple[str, ...]


def moved(keys: Keys, most: int) -> Op[Moved]:
    """So many runs that have moved and of which was not told for five seconds, or that have just ended."""
    return Op(_moved, (most, _AGAIN), [keys.moved], "moved")


def told(keys: Keys, mark: str, run_ids: Iterable[str]) -> Op[int]:
    """Crosses runs off that a look handed out, but for those that have moved since."""
    return Op(int, (mark, *run_ids), [keys.moved], "told")


def _moved(reply: Sequence[bytes]) -> Moved:
    mark, *run_ids = (item.decode() for item in reply)
    return Moved(mark, tuple(run_ids))
