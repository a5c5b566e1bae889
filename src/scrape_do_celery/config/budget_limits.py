"""Budgets as people write them: limits, tags, amounts of credits.

Inside, amounts are whole thousandths of a credit (`mc`), so that sums have no rounding errors.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

#: Thousandths in a credit.
MC_PER_CREDIT: Final = 1000
#: The largest limit in credits. The server's Lua counts exactly up to 2**53.
MAX_CREDITS: Final = 1_000_000_000_000
#: Tags of one run, and bytes of one tag, at most.
MAX_TAGS, MAX_TAG_BYTES = 8, 64
_TAG: Final = re.compile(r"[^\s,\x00-\x1f\x7f]+")
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9]{1,64}")
#: The words before the name of a scope. No tag begins like that: people would not know which of both is meant.
_KINDS: Final = ("tag:", "account:")


class BudgetPeriod(StrEnum):
    """The period of a budget, in UTC."""

    DAY = "day"
    MONTH = "month"


def to_mc(credits_: float) -> int:
    """Return an amount of credits as thousandths, rounded up."""
    # Ten digits first: 0.1 + 0.2 must not become 301.
    return math.ceil(round(credits_ * MC_PER_CREDIT, 6))


def check_credits(name: str, value: Any) -> float | None:
    """Return an amount of credits, or None.

    Raises:
        ValueError: the value is no positive number of credits.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number of credits, or None; not {type(value).__name__}")  # noqa: TRY004
    if not 0 < value <= MAX_CREDITS:
        raise ValueError(f"{name} must be more than 0 and at most {MAX_CREDITS:,} credits, or None")
    return float(value)


def check_tags(value: Any) -> tuple[str, ...]:
    """Return the tags of a run, each once, in their order.

    Raises:
        ValueError: the value is no list of tags, or a tag is wrong.
    """
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise ValueError(f"tags must be a list of texts, such as ['shop:7']; not {type(value).__name__}")  # noqa: TRY004
    found = tuple(dict.fromkeys(map(check_tag, value)))
    if len(found) > MAX_TAGS:
        raise ValueError(f"tags must have at most {MAX_TAGS} tags, not {len(found)}")
    return found


def check_tag(value: Any) -> str:
    """Return a tag.

    Raises:
        ValueError: the value is no tag.
    """
    if not isinstance(value, str):
        raise ValueError(f"a tag must be a text, such as 'shop:7'; not {type(value).__name__}")  # noqa: TRY004
    size = len(value.encode(errors="surrogatepass"))
    if not _TAG.fullmatch(value) or size > MAX_TAG_BYTES or not value.isprintable():
        raise ValueError(
            f"a tag must have 1 to {MAX_TAG_BYTES} bytes, and no space, comma or control character, such as 'shop:7'"
        )
    if value.startswith(_KINDS):
        kind, _, rest = value.partition(":")
        form = f"write {rest or 'shop:7'!r}, not {value!r}" if kind == "tag" else "`account:` names an account"
        raise ValueError(f"a tag must not begin with `tag:` or `account:`: {form}")
    return value


class BudgetScope(NamedTuple):
    """A scope as people write it: a tag, or an account. Without both, it is the account of the settings."""

    tag: str | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class BudgetLimit:
    """A limit for a scope."""

    scope: BudgetScope
    period: BudgetPeriod
    limit_mc: int


def parse_limits(text: str) -> list[BudgetLimit]:
    """Parse limits that are separated by commas, such as `account day 5000, tag:shop:7 month 20000`.

    Raises:
        ValueError: a limit is wrong.
    """
    found = [_parse_limit(one) for one in map(str.strip, text.split(",")) if one]
    if len({(one.scope, one.period) for one in found}) < len(found):
        raise ValueError("should have one limit for each scope and period, not two")
    return found


def check_limits(text: str) -> str:
    """Return the text of limits that `parse_limits` reads.

    Raises:
        ValueError: a limit is wrong.
    """
    parse_limits(text)
    return text


def _parse_limit(text: str) -> BudgetLimit:
    form = "should be like `account day 5000` or `tag:shop:7 month 20000`, with commas between"
    words = text.split()
    if len(words) != 3 or words[1] not in set(BudgetPeriod):  # noqa: PLR2004
        raise ValueError(form)
    try:
        amount = check_credits("the limit", float(words[2]))
    except ValueError:
        raise ValueError(f"{form}; the limit is a positive number of credits") from None
    return BudgetLimit(read_scope(words[0]), BudgetPeriod(words[1]), to_mc(amount or 0))


def read_scope(text: str) -> BudgetScope:
    """Return a scope as people write it: `account`, `account:` with the id of another one, or `tag:shop:7`.

    Raises:
        ValueError: the text is neither.
    """
    if text == "account":
        return BudgetScope()
    kind, colon, name = text.partition(":")
    if kind == "account" and colon:
        return BudgetScope(account=check_account(name))
    if kind != "tag":
        raise ValueError("should be account, account:<id> or tag:<tag>")
    return BudgetScope(tag=check_tag(name))


def check_account(value: Any) -> str:
    """Return the id of an account.

    Raises:
        ValueError: the value is no id.
    """
    if not isinstance(value, str) or not _ACCOUNT.fullmatch(value):
        raise ValueError(
            "the id of an account must have 1 to 64 letters and digits; `scrape-do budgets list` shows ids"
        )
    return value
