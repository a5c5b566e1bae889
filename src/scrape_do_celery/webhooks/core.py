"""Judge the calls of a receiver of webhooks: who calls, and what the body is worth. No I/O, no clock, no store.

A face does this with each request:

1. `judged = receiver.judge_call(method, path, headers)`. `path` has no query, may have any prefix, and may be encoded.
   `headers` are pairs of texts; bytes are decoded as Latin-1.
2. If `judged` is an `Answer`, send it. Read no body, write nothing and look nothing up.
3. While `judged.wants_more` and the request has bytes, `judged.take_chunk(chunk)`. The face reads from the stream of
   its server, never a whole body: frameworks have limits of their own, and answer 400 or 413 beyond them. If the stream
   breaks, the face goes on with step 4.
4. `delivery = judged.finish()`. If `delivery.page` is None, the delivery is a hint: one command makes its task due for
   fetching, or notes `job_id` and `task_id` while the part does not know its tasks. Otherwise, one command stores the
   page, if JobID and TaskID are those of the purchase. All other checks that need the store belong to that command.
5. Send `ACCEPTED`, also for an ended or forgotten run. If the store is away or full, send `BUSY`. Never send 404 or
   410: Scrape.do would try once more an hour later, and then give the webhook up.

A face may answer before the sender has sent its whole body. Servers close the connection then.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from scrape_do_celery.config.secrets import signing_keys
from scrape_do_celery.errors import ConfigurationError, UnreadableContentError
from scrape_do_celery.models import WebhookPayload
from scrape_do_celery.rules.decompression import ENCODINGS, BodyInflater, read_encoding
from scrape_do_celery.rules.webhook_tokens import HEADER, PurchaseId, is_secret, read_purchase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrape_do_celery.config import Settings


#: JSON values in a body, at most. A task has some hundred; a value may need thirty times as much memory as its text.
_MOST_VALUES: Final = 30_000


class Answer(NamedTuple):
    """An answer to a call."""

    status: int
    text: str
    headers: tuple[tuple[str, str], ...] = ()


ACCEPTED: Final = Answer(200, "ok")
FORBIDDEN: Final = Answer(403, "this is not the webhook of a purchase")
NOT_ALLOWED: Final = Answer(405, "call this webhook with POST", (("Allow", "POST"),))
BUSY: Final = Answer(503, "the store does not take the delivery now; send it again", (("Retry-After", "5"),))


def list_headers(answer: Answer, body: bytes) -> list[tuple[str, str]]:
    """Return the headers of an answer with this body."""
    about = (("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))))
    return [*about, *answer.headers]


def largest_body(settings: Settings) -> int:
    """Return the most bytes of a body that can bring a page. A page that is too large to be fetched is none."""
    return min(settings.webhook_max_bytes, settings.max_page_bytes)


class HintReason(StrEnum):
    """The reason why a delivery is only a hint."""

    HEADER_MISSING = "header_missing"  #: the header with the secret is missing
    HEADER_WRONG = "header_wrong"  #: the secret is wrong, or came twice
    TOO_LARGE = "too_large"  #: the body is larger than `SCRAPE_DO_WEBHOOK_MAX_BYTES` or `SCRAPE_DO_MAX_PAGE_BYTES`
    UNREADABLE = "unreadable"  #: the body is no task, is cut, or cannot be decompressed
    NOT_TRUSTED = "not_trusted"  #: `SCRAPE_DO_WEBHOOK_TRUST` is `hint`
    NO_PAGE = "no_page"  #: the task did not succeed, or has no content that can be decoded
    NO_ROOM = "no_room"  #: the receiver held too many bodies at this moment


#: The reasons for which anybody who knows the URL may have called.
_UNPROVEN: Final = frozenset({HintReason.HEADER_MISSING, HintReason.HEADER_WRONG})


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """A call by the webhook of a purchase. Its page is None for a hint, so that no forged page can be stored."""

    purchase: PurchaseId
    #: the ids in the body; empty if the body is unreadable. Anybody who knows the URL may have written them.
    job_id: str = ""
    task_id: str = ""
    #: why the delivery is only a hint; None if it has a page
    reason: HintReason | None = None
    page: WebhookPayload | None = field(default=None, repr=False)

    @property
    def is_proven(self) -> bool:
        """Whether the header was right, so that the API has sent the ids, and has taken the `POST` of the purchase."""
        return self.reason not in _UNPROVEN


@dataclass(frozen=True, slots=True)
class Receiver:
    """The rules of one receiver. Threads may share it."""

    keys: tuple[bytes, ...] = field(repr=False)
    trusts_content: bool = False
    max_bytes: int = 16_777_216

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the receiver of these settings.

        Raises:
            ConfigurationError: the settings have no keys.
        """
        keys = signing_keys(settings.webhook_keys)
        if not keys:
            raise ConfigurationError(
                "SCRAPE_DO_WEBHOOK_KEYS is not set: set it to the keys of the workers, because a receiver recognizes "
                "deliveries by them"
            )
        return cls(keys, settings.webhook_trust == "content", largest_body(settings))

    def judge_call(self, method: str, path: str, headers: Iterable[tuple[str, str]]) -> Answer | DeliveryIntake:
        """Judge a call by its head. Return the answer to a refused call, or the reader for the body of a delivery."""
        purchase = read_purchase(path, self.keys)
        if purchase is None:
            return FORBIDDEN
        if method.upper() != "POST":
            return NOT_ALLOWED
        found: dict[str, list[str]] = {}
        for name, value in headers:
            found.setdefault(name.strip().lower(), []).append(value)
        reason = self._judge_sender(found.get(HEADER.lower(), []), purchase)
        encoding = read_encoding(", ".join(found.get("content-encoding", [])))
        intake = DeliveryIntake(purchase, reason, encoding, self.max_bytes)
        intake.expect(found.get("content-length", [""])[0])
        return intake

    def _judge_sender(self, secrets: list[str], purchase: PurchaseId) -> HintReason | None:
        if not secrets:
            return HintReason.HEADER_MISSING
        if len(secrets) > 1 or not is_secret(secrets[0], self.keys, purchase):
            return HintReason.HEADER_WRONG
        return None if self.trusts_content else HintReason.NOT_TRUSTED


class DeliveryIntake:
    """The reader for the body of a delivery. Its memory stays below ten times `limit` bytes."""

    def __init__(self, purchase: PurchaseId, reason: HintReason | None, encoding: str, limit: int) -> None:
        self._purchase, self._reason, self._limit = purchase, reason, limit
        self._inflater = BodyInflater(encoding) if encoding in ENCODINGS else None
        self._parts: list[bytes] = []
        self._received = self._size = 0
        self._fault: HintReason | None = None

    @property
    def wants_more(self) -> bool:
        """Whether more of the body is wanted."""
        return self._fault is None

    @property
    def is_compressed(self) -> bool:
        """Whether chunks are decompressed. A small chunk may then take as long as a body of `limit` bytes."""
        return self._inflater is not None

    @property
    def held(self) -> int:
        """The number of bytes that are held for the delivery."""
        return self._size if self._fault is None else 0

    def expect(self, content_length: str) -> None:
        """Note the announced size of the body. The size may be a lie, so no more follows than "too large"."""
        digits = content_length.strip()
        if digits.isascii() and digits.isdigit() and (len(digits) > len(str(self._limit)) or int(digits) > self._limit):
            self._drop(HintReason.TOO_LARGE)

    def take_chunk(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        self._received += len(chunk)
        if self._received > self._limit:
            self._drop(HintReason.TOO_LARGE)
        if self._fault is None:
            self._keep_chunk(chunk)

    def drop_body(self) -> None:
        """Drop the body, because the process has no room for it. The delivery becomes a hint."""
        self._drop(HintReason.NO_ROOM)

    def finish(self) -> WebhookDelivery:
        """Return the delivery, for any body: an unreadable one makes a hint."""
        if self._fault is None and self._inflater is not None and not self._inflater.is_complete:
            self._drop(HintReason.UNREADABLE)
        task = None if self._fault else self._read_task()
        if task is None:
            fault = self._fault or HintReason.UNREADABLE
            return WebhookDelivery(self._purchase, reason=self._reason if self._reason in _UNPROVEN else fault)
        reason = self._reason or (None if _has_page(task) else HintReason.NO_PAGE)
        page = task if reason is None else None
        return WebhookDelivery(self._purchase, task.job_id, task.task_id, reason, page)

    def _keep_chunk(self, chunk: bytes) -> None:
        try:
            for part in self._inflater.inflate_chunk(chunk) if self._inflater else (chunk,):
                self._size += len(part)
                if self._size > self._limit:
                    self._drop(HintReason.TOO_LARGE)
                    return
                self._parts.append(part)
        except zlib.error:
            self._drop(HintReason.UNREADABLE)

    def _read_task(self) -> WebhookPayload | None:
        body = b"".join(self._parts)
        self._parts.clear()
        if _has_many_values(body):
            return None
        try:
            return WebhookPayload.from_answer(body)
        except Exception:  # noqa: BLE001
            # A bug in the reader must not refuse the delivery: its URL says enough to fetch the task.
            return None

    def _drop(self, fault: HintReason) -> None:
        self._fault = fault
        self._parts.clear()


def _has_many_values(body: bytes) -> bool:
    """Return whether the body has more JSON values than a task. Such values could fill the memory."""
    if _count_marks(body) <= _MOST_VALUES:
        # Most pages end here. The marks in their texts count as well, which takes a third of the time of what follows.
        return False
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 4 * _MOST_VALUES:
        return True
    return _count_marks(b"".join(plain.split(b'"')[::2])) > _MOST_VALUES


def _count_marks(text: bytes) -> int:
    return sum(map(text.count, (b"[", b"{", b",", b":")))


def _has_page(task: WebhookPayload) -> bool:
    if not (task.is_success and task.content):
        return False
    try:
        return bool(task.decoded_content())
    except UnreadableContentError:
        return False
