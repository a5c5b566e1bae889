"""Declare the stored fields of records: each declaration has the name, the reader and the meaning of one field."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload

from scrape_do_celery.errors import EncryptionKeyError, ScrapeDoError
from scrape_do_celery.store.codec import unpack
from scrape_do_celery.store.encryption import PrivateValues

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scrape_do_celery.store.command import Value

T = TypeVar("T")
D = TypeVar("D")

_STORED: Final = "stored"
_PLAIN: Final = PrivateValues()


@dataclass(frozen=True, slots=True)
class StoredField:
    """The declaration of a stored field.

    Attributes:
        name: The name in the hash. A name with `<...>` stands for many fields, such as `waiter:<id>`.
        read: The reader of the stored bytes.
        meaning: The meaning of the value, for the documentation.
        encrypted: Whether the value is always encrypted, because it may quote a request or an answer.
        error_instead: Whether the record has the `EncryptionKeyError` instead of a value that cannot be decrypted.
            Without it such a value is left out.
        attribute: The name of the attribute of the record; empty if no record has the field.
        type: The annotation of the attribute.
    """

    name: str
    read: Callable[[bytes], Any]
    meaning: str
    encrypted: bool = False
    error_instead: bool = False
    attribute: str = ""
    type: str = ""

    @property
    def stem(self) -> str:
        """The part of the name before `<`, which all fields of the declaration share."""
        return self.name.partition("<")[0]


@overload
def stored(
    name: str, read: Callable[[bytes], T], meaning: str, *, encrypted: bool = ..., error_instead: bool = ...
) -> T | None: ...
@overload
def stored(
    name: str, read: Callable[[bytes], T], meaning: str, *, default: D, encrypted: bool = ..., error_instead: bool = ...
) -> T | D: ...
def stored(  # noqa: PLR0913 (one argument a property of the declaration)
    name: str,
    read: Callable[[bytes], Any],
    meaning: str,
    *,
    default: Any = None,
    encrypted: bool = False,
    error_instead: bool = False,
) -> Any:
    """Declare an attribute of a record, which `Record.parse` reads from the stored field `name`.

    A hash without the field gives the attribute its default.
    """
    metadata = {_STORED: StoredField(name, read, meaning, encrypted, error_instead)}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def stored_many(name: str, read: Callable[[bytes], T], meaning: str, *, encrypted: bool = False) -> Mapping[str, T]:
    """Declare an attribute that maps the ends of field names to values. `name` ends with `<...>`, as in `waiter:<id>`.

    A value that cannot be decrypted is read as if it were empty.
    """
    found: Mapping[str, T] = dataclasses.field(
        default_factory=dict, repr=not encrypted, metadata={_STORED: StoredField(name, read, meaning, encrypted)}
    )
    return found


def required(name: str, read: Callable[[bytes], T], meaning: str) -> T:
    """Declare an attribute like `stored`. A record without the field cannot be parsed."""
    found: T = dataclasses.field(metadata={_STORED: StoredField(name, read, meaning)})
    return found


class Record:
    """A dataclass whose attributes are parsed from a hash by their declarations."""

    __slots__ = ()

    @classmethod
    def parse(cls, fields: Mapping[str, bytes], key: str = "", keys: PrivateValues = _PLAIN, **others: Any) -> Self:
        """Parse the fields of the hash `key`. `others` are the attributes that are not stored there."""
        return cls(**cls.read_values(fields, key, keys)[0], **others)

    @classmethod
    def read_values(
        cls, fields: Mapping[str, bytes], key: str = "", keys: PrivateValues = _PLAIN
    ) -> tuple[dict[str, Any], dict[str, EncryptionKeyError]]:
        """Return the attributes that the fields give, and for each value that cannot be decrypted the reason.

        Fields that the record does not declare are left out.
        """
        values: dict[str, Any] = {}
        unreadable: dict[str, EncryptionKeyError] = {}
        single, many = _declared(cls)
        for name, raw in fields.items():
            if one := single.get(name):
                if not one.encrypted:
                    values[one.attribute] = one.read(raw)
                elif raw:
                    try:
                        values[one.attribute] = one.read(keys.decrypt(key, name, raw))
                    except EncryptionKeyError as error:
                        unreadable[name] = error
                        if one.error_instead:
                            values[one.attribute] = error
            elif many and ":" in name and (one := many.get(name[: name.index(":") + 1])):
                try:
                    plain = keys.decrypt(key, name, raw) if one.encrypted else raw
                except EncryptionKeyError as error:
                    unreadable[name], plain = error, b""
                values.setdefault(one.attribute, {})[name.removeprefix(one.stem)] = one.read(plain)
        return values, unreadable

    @classmethod
    def encrypt_fields(cls, keys: PrivateValues, key: str, fields: Mapping[str, Value]) -> dict[str, Value]:
        """Return fields of the hash `key`, with the values encrypted that the record declares as encrypted."""
        single = _declared(cls)[0]
        return {
            name: _encrypt(keys, key, name, value) if name in single and single[name].encrypted else value
            for name, value in fields.items()
        }


_DECLARED: Final[dict[type[Record], tuple[dict[str, StoredField], dict[str, StoredField]]]] = {}


def declared_fields(record: type[Record]) -> list[StoredField]:
    """Return the declarations of a record, in their order."""
    return [
        dataclasses.replace(one.metadata[_STORED], attribute=one.name, type=str(one.type))
        for one in dataclasses.fields(record)  # type: ignore[arg-type]
        if _STORED in one.metadata
    ]


def _declared(record: type[Record]) -> tuple[dict[str, StoredField], dict[str, StoredField]]:
    """Return the declarations by name, and by stem those that stand for many fields."""
    if record not in _DECLARED:
        declared = declared_fields(record)
        _DECLARED[record] = (
            {one.name: one for one in declared if one.stem == one.name},
            {one.stem: one for one in declared if one.stem != one.name},
        )
    return _DECLARED[record]


def _encrypt(keys: PrivateValues, key: str, name: str, value: Value) -> Value:
    return keys.encrypt(key, name, value) if isinstance(value, bytes) else keys.encrypt_text(key, name, str(value))


# Readers of stored values


def pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    """Return the fields of a hash, from the flat list that Lua returns."""
    return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}


def number(raw: bytes) -> int:
    """Read a whole number."""
    return int(raw)


def first_number(raw: bytes) -> int:
    """Read the whole number before further words."""
    return int(raw.split(b" ")[0])


def decimal(raw: bytes) -> float:
    """Read a number with a fraction: a time or a duration in seconds, or an amount of credits."""
    return float(raw)


def seconds_unless_zero(raw: bytes) -> float | None:
    """Read a time in seconds. Zero means that there is none."""
    return float(raw) or None


def text(raw: bytes) -> str:
    """Read a text."""
    return raw.decode()


def words(raw: bytes) -> tuple[str, ...]:
    """Read words with spaces between."""
    return tuple(raw.decode().split())


def flag(raw: bytes) -> bool:  # noqa: ARG001 (the presence is the value)
    """Read a field that is only present if something holds."""
    return True


def packed_texts(raw: bytes) -> tuple[str, ...]:
    """Read a packed list of texts."""
    return tuple(unpack(raw))


def json_texts(raw: bytes) -> tuple[str, ...]:
    """Read a JSON list of texts."""
    return tuple(json.loads(raw))


def stored_error(raw: bytes) -> ScrapeDoError:
    """Read an error."""
    return ScrapeDoError.from_json(json.loads(raw))


def error_message(raw: bytes) -> str | None:
    """Read the text of an error; None if the error cannot be read."""
    try:
        return str(stored_error(raw))
    except (ValueError, KeyError, TypeError):
        # The text only explains. A record must be readable without it.
        return None


# Fields that no record has


def _other(name: str, type_: str, meaning: str, *, encrypted: bool = False) -> StoredField:
    return StoredField(name, bytes, meaning, encrypted=encrypted, type=type_)


#: The fields of a part that `PartRecord` does not have: scripts or commands read them.
OTHER_PART_FIELDS: Final = (
    _other("token", "str", "token of the claim; empty if no step holds the part"),
    _other("breaker", "str", "verdict on the account that the claim got"),
    _other("purchase_status", "str", "status of the last purchase in the ledger"),
    _other("uncounted", "str", "periods and tags that do not count this reservation, as they have too many tags"),
    _other("price", "int", "thousandths of a credit that the last purchase has reserved, on the day of its intent"),
    _other("estimate", "int", "estimated credits of the last purchase, in parts of older versions"),
    _other("unpriced", "int", "stored tasks whose cost the API did not report"),
    _other("looked_at", "float", "latest time at which deliveries demand a poll of the job"),
    _other("nonce", "str", "nonce of the last intent"),
    _other("checked_epoch", "str", "store epoch of the last search for the job"),
    _other("order", "int", "position of the last intent in the order"),
    _other("strict", "str", "strict digests of the targets, while the purchase is unresolved"),
    _other("coarse", "str", "coarse digests of the targets, while the purchase is unresolved"),
    _other("locks", "str", "digests whose target locks the part holds"),
    _other("slot", "str", "account of the job slot that the part holds"),
    _other("slot_queue", "str", "account for whose job slot the part waits"),
    _other("slot_price", "int", "thousandths of a credit that its fairness key pays, until the job slot is used"),
    _other(
        "held_by",
        "str",
        "account whose worker held the part back, or went on with a part that another token could not buy",
    ),
    _other("replaced:<position>", "int", "page that was too large, and has been replaced"),
)
#: The fields of a run that `RunRecord` does not have.
OTHER_RUN_FIELDS: Final = (
    _other("v", "int", "version of the record; missing: 1"),
    _other("digest", "str", "digest of the request and the options"),
    _other("spec", "bytes", "packed options of the request", encrypted=True),
    _other("targets:<part>", "bytes", "packed targets of a part", encrypted=True),
    _other("targets:<part>:inputs", "bytes", "packed `meta` and duplicates of a part's inputs", encrypted=True),
    _other("inputs", "int", "number of inputs, if they have `meta` or duplicates"),
    _other("options_digest", "str", "digest of `spec`, if `spec` is encrypted"),
    _other("max_mc", "int", "thousandths of a credit that the run may cost"),
    _other("spent_mc", "int", "thousandths of a credit that its ended parts cost, if the run has `max_mc`"),
    _other("reserved_mc", "int", "thousandths of a credit that its other parts have reserved, if the run has `max_mc`"),
    _other("early", "int", "tasks are fetched as they end, so steps poll the job itself"),
    _other("left", "int", "number of live parts"),
    _other("waiting", "int", "number of Celery ids that wait for the outcome, and of the export"),
    _other("delivered:<id>", "int", "Celery id that has the outcome"),
    _other("deadline", "float", "when the run is stopped"),
    _other("stop_requested_at", "float", "when the stop was requested"),
    _other("epoch", "str", "store epoch in which the run was written"),
    _other("watched", "float", "when the run was written, by the watched clock"),
    _other("dispatches", "int", "step messages for the run since it needs a step"),
    _other("dispatched_at", "float", "when a step published a message for the run"),
    _other("deciding", "int", "attempts to decide the outcome"),
    _other("idempotency_key", "str", "key of the idempotency key that leads to the run"),
    _other("schedule", "str", "key of the last run of the schedule"),
    _other("tick", "str", "tick of the schedule"),
    _other("export_token", "str", "token of the step that exports the run"),
    _other("export_until", "float", "until when no other step exports the run, by the watched clock"),
    _other("export_attempts", "int", "attempts to export the run"),
    _other("next", "str", "draft that waits for the end of this run"),
    _other("forget", "int", "the last delivery frees the run"),
    _other("forgotten", "int", "mark of a freed run; the hash has no other field"),
)
