"""Numbers that the store's scripts need: how long marks are kept, how soon a change is announced. In seconds."""

from __future__ import annotations

from typing import Final

_DAY = 86_400

#: Bytes of pages are counted by the hour in which they expire.
HOUR: Final = 3600

#: A mark of a deleted run, and the owner of its job: a message that comes again must not buy again.
MARK_TTL: Final = 7 * _DAY
#: A live run is announced at most this often.
CHANGE_DELAY: Final = 5
#: A server that stops syncing every write counts as durable no earlier than this after the change.
DURABILITY_DELAY: Final = 3
#: A purchase that two full listings did not show still counts as unresolved for this time.
NOT_FOUND_TTL: Final = HOUR
#: The register of unresolved purchases and the list of unowned jobs: longer than the API keeps a job.
UNRESOLVED_TTL: Final = 4 * _DAY
#: A day of the ledger.
LEDGER_TTL: Final = 91 * _DAY
#: The list of parts that wait for a target lock, after the last one came. Each part comes again by itself before that.
TARGET_WAIT_TTL: Final = _DAY
#: The rejected purchases of an account, after the last one.
REJECTED_TTL: Final = _DAY

#: The ledger has one key for each day.
SECONDS_PER_DAY: Final = _DAY
#: Redis takes some expiries in milliseconds.
MS_PER_SECOND: Final = 1000
#: A prime. The remainder of a part id tells which of its polls goes to the job itself, and not to the list.
SPREAD_PRIME: Final = 1_000_003

#: The constants that Lua may name. `scripts` writes those that a script uses before its text.
SCRIPT_CONSTANTS: Final = {
    name: value for name, value in globals().items() if name.isupper() and not name.startswith("_")
}
