"""Deliver probes to the receiver of webhooks through its public URL, and find why they do not reach the store."""

from __future__ import annotations

import json
import secrets
import socket
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from scrape_do_celery.config.secrets import signing_keys
from scrape_do_celery.config.urls import is_loopback
from scrape_do_celery.config.webhook_settings import find_missing
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.findings import OK, WARNING, WRONG, Finding
from scrape_do_celery.rules.webhook_answers import WebhookAnswer, explain_answer
from scrape_do_celery.rules.webhook_tokens import HEADER, PurchaseId, hide_token, make_secret, make_url
from scrape_do_celery.store.commands.probes import OpenProbe, ReadProbe
from scrape_do_celery.webhooks.core import ACCEPTED, BUSY, FORBIDDEN, largest_body

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from scrape_do_celery.config import Settings
    from scrape_do_celery.store import Store
    from scrape_do_celery.store.commands.probes import TakenProbe

#: Seconds for a connection, and for each further step of a delivery.
_CONNECT_TIME, _STEP_TIME = 5.0, 10.0
#: Bytes of a large body. Django refuses 2.5 MB by default, proxies 1 MB, and pages have more.
LARGE: Final = 3_000_000
#: Bytes of an answer that are read.
_READ: Final = 4_096
_TASK_ID: Final = "doctor"
_KEYS: Final = "SCRAPE_DO_WEBHOOK_KEYS"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The end of a probe: the answer of the server or the fault of the connection, and what the store noted."""

    url: str
    seconds: float
    answer: WebhookAnswer | None = None
    fault: str = ""
    taken: TakenProbe | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the body arrived whole: a cut body is no JSON."""
        return self.taken is not None and self.taken.task_id == _TASK_ID

    def is_text(self, text: str) -> bool:
        """Return whether a receiver of this package has answered with this text."""
        return self.answer is not None and self.answer.text == text


def check_receiver(store: Store, settings: Settings) -> Iterator[Finding]:
    """Deliver probes to the receiver: signed ones by each key, a large one, and a forged one.

    Raises:
        RedisError: the store did not answer.
    """
    if missing := find_missing(settings.webhook_base_url, settings.webhook_keys):
        yield Finding(WRONG, f"--webhook needs {missing}: take the values of the workers")
        return
    try:
        with _open_client(settings) as client:
            yield from _deliver_probes(ProbeSender(store, client, str(settings.webhook_base_url)), settings)
    except ConfigurationError as error:
        yield Finding(WRONG, str(error))


def _deliver_probes(sender: ProbeSender, settings: Settings) -> Iterator[Finding]:
    keys = signing_keys(settings.webhook_keys)
    first = sender.deliver(keys[0])
    yield from _judge_first(first, settings, sender.store)
    if first.taken is None:
        return
    for number, key in enumerate(keys[1:], start=2):
        yield from _judge_key(number, sender.deliver(key))
    size = min(LARGE, largest_body(settings))
    yield _judge_large(sender.deliver(keys[0], size), size)
    yield _judge_forged(sender.deliver(secrets.token_bytes(32)))


@contextmanager
def _open_client(settings: Settings) -> Iterator[httpx.Client]:
    # Import late: both load an HTTP library, which no command needs before its call.
    import httpx

    from scrape_do_celery.client.routes import network_arguments, read_route, ssl_context

    is_near = is_loopback(urlsplit(settings.webhook_base_url or "").hostname or "")
    with httpx.Client(
        proxy=None if is_near else read_route(**network_arguments(settings)).httpx_proxy(),
        # Scrape.do knows the public authorities only, so those of SCRAPE_DO_CA_FILE do not count.
        verify=ssl_context(settings.ca_file if is_near else ""),
        timeout=httpx.Timeout(_STEP_TIME, connect=_CONNECT_TIME),
        # A proxy may close a connection after a refused body.
        limits=httpx.Limits(max_keepalive_connections=0),
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": "scrape-do-celery doctor"},
    ) as client:
        yield client


@dataclass(frozen=True, slots=True)
class ProbeSender:
    """The sender of probes: deliveries for runs that do not exist, each announced to the store before."""

    store: Store
    client: httpx.Client
    base_url: str

    def deliver(self, key: bytes, size: int = 0) -> ProbeResult:
        """Deliver a probe that is signed with a key, with a body of `size` bytes, or a small one."""
        purchase = PurchaseId(str(uuid.uuid4()), 0, 1)
        self.store.run(OpenProbe(purchase.run_id))
        result = self._send(purchase, key, size)
        taken = self.store.run(ReadProbe(purchase.run_id))
        return ProbeResult(result.url, result.seconds, result.answer, result.fault, taken)

    def _send(self, purchase: PurchaseId, key: bytes, size: int) -> ProbeResult:
        import httpx

        url = make_url(self.base_url, key, purchase)
        headers = {HEADER: make_secret(key, purchase), "Content-Type": "application/json"}
        began, shown = time.monotonic(), hide_token(url)
        try:
            with self.client.stream("POST", url, content=_make_body(size), headers=headers) as response:
                answer = WebhookAnswer(response.status_code, _read_text(response), dict(response.headers))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return ProbeResult(shown, time.monotonic() - began, fault=_describe_fault(error))
        return ProbeResult(shown, time.monotonic() - began, answer)


def _make_body(size: int) -> bytes:
    """Return a task of `size` bytes, or a small one. Its id is last, so that a cut body has none."""
    task = {"JobID": "doctor", "URL": "https://doctor.invalid/", "Status": "success", "StatusCode": 200}
    small = json.dumps({**task, "Content": "", "TaskID": _TASK_ID})
    return small.replace('"Content": ""', f'"Content": "{"x" * (size - len(small))}"').encode()


def _read_text(response: httpx.Response) -> str:
    text = b""
    for chunk in response.iter_bytes(_READ):
        text += chunk
        if len(text) >= _READ:
            break
    return text[:_READ].decode(errors="replace")


def _describe_fault(error: Exception) -> str:
    """Return why no answer came, and what to change."""
    cause: BaseException | None = error
    causes = []
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    name = type(error).__name__
    text = hide_token(str(error)) or name
    if any(isinstance(one, socket.gaierror) for one in causes):
        advice = "DNS does not know the host: correct SCRAPE_DO_WEBHOOK_BASE_URL, or add the name to the public DNS"
    elif "CERTIFICATE_VERIFY_FAILED" in text:
        advice = (
            "the certificate is not one that a public authority has signed for this host, or its chain is not whole: "
            "Scrape.do may refuse it too; renew it, and let the server send the chain. If your network inspects TLS, "
            "run the command elsewhere"
        )
    elif any(isinstance(one, ConnectionRefusedError) for one in causes):
        advice = "nothing listens at this address and port: start the proxy or the receiver, or correct the port"
    elif "SSL" in text or "TLS" in text:
        advice = "the port does not speak TLS as expected: check the scheme and the port of SCRAPE_DO_WEBHOOK_BASE_URL"
    elif "Timeout" in name:
        advice = (
            "no answer in time: open the port in the firewall (some networks do not let a machine reach its own public "
            "address: run the command elsewhere then), and check that the receiver is not overloaded"
        )
    else:
        advice = "the connection broke: the logs of the proxy and of the receiver say why"
    return f"{text} ({name}): {advice}"


def _judge_first(one: ProbeResult, settings: Settings, store: Store) -> Iterator[Finding]:
    where = settings.webhook_base_url
    if one.taken is None:
        yield Finding(WRONG, f"a signed delivery through {where} did not reach the store: {_explain(one, store)}")
        return
    yield Finding(OK, f"a signed delivery through {where} reached the store within {one.seconds * 1000:,.0f} ms")
    if one.answer is None or not one.is_text(ACCEPTED.text):
        yield Finding(
            WRONG,
            f"the receiver has taken the delivery, and its answer does not arrive: {_explain(one, store)}; Scrape.do "
            "sends such deliveries again, and gives the webhook up",
        )
    if not one.is_whole:
        yield Finding(
            WRONG,
            "the body of a delivery does not arrive whole, so that no page can be stored: a proxy drops or changes it, "
            "or a middleware reads it before the receiver",
        )
    elif one.taken.is_proven:
        yield Finding(OK, f"the header {HEADER} arrives")
    else:
        is_content = settings.webhook_trust == "content"
        effect = "no delivered page is believed" if is_content else "the ids in a delivery are not believed"
        yield Finding(
            WRONG if is_content else WARNING,
            f"the header {HEADER} does not arrive, so that {effect}: let the proxy pass it on unchanged",
        )


def _explain(one: ProbeResult, store: Store) -> str:
    if one.answer is None:
        return one.fault
    if one.is_text(FORBIDDEN.text):
        return (
            f"a receiver of this package refuses it, because it does not have the first key in {_KEYS} of this "
            "process: give both the same keys"
        )
    if one.is_text(BUSY.text):
        return (
            "a receiver of this package answers that its store does not answer or is full, or that its settings lack "
            f"the key or are wrong: its log says why; check its SCRAPE_DO_REDIS_URL, {_KEYS} and "
            "SCRAPE_DO_WEBHOOK_TRUST"
        )
    if one.is_text(ACCEPTED.text):
        return (
            "a server answers as receivers of this package do, and writes to another store: give it "
            f"SCRAPE_DO_REDIS_URL and SCRAPE_DO_KEY_PREFIX of this process ({store.where}, {store.keys.prefix})"
        )
    return explain_answer(one.answer, one.url)


def _judge_key(number: int, one: ProbeResult) -> Iterator[Finding]:
    if one.taken is None:
        yield Finding(
            WRONG,
            f"the receiver takes no delivery that is signed with key number {number} in {_KEYS} of this process: jobs "
            "that were bought with it end by safety polls; give the receiver all keys",
        )


def _judge_large(one: ProbeResult, size: int) -> Finding:
    begin = f"a body of {size:,} bytes"
    if one.is_whole and one.is_text(ACCEPTED.text):
        return Finding(OK, f"{begin} arrives whole")
    if one.taken is not None and not one.is_whole:
        reason = (
            "a proxy or a middleware cuts it, or SCRAPE_DO_WEBHOOK_MAX_BYTES or SCRAPE_DO_MAX_PAGE_BYTES of the "
            "receiver is smaller; such pages are fetched"
        )
    elif one.answer is not None and one.answer.status == 400:  # noqa: PLR2004
        reason = (
            "status 400, and a smaller one arrives: a middleware reads the body before the receiver, and the framework "
            "limits it (DATA_UPLOAD_MAX_MEMORY_SIZE of Django): let the middleware skip the path of the receiver"
        )
    elif one.answer is None:
        reason = f"{one.fault}. If smaller bodies arrive, a proxy limits them (client_max_body_size of nginx)"
    else:
        reason = f"{explain_answer(one.answer, one.url)}; Scrape.do sends such deliveries again, with the same result"
    verb = "arrives, and its answer does not come back" if one.is_whole else "does not arrive whole"
    return Finding(WRONG, f"{begin} {verb}: {reason}")


def _judge_forged(one: ProbeResult) -> Finding:
    if one.taken is not None:
        return Finding(
            WRONG, "a forged delivery reached the store: stop the receiver, and report this as a vulnerability"
        )
    if one.answer is None:
        return Finding(WARNING, f"a forged delivery got no answer: {one.fault}")
    if one.answer.status == FORBIDDEN.status:
        return Finding(OK, "a forged delivery is refused with 403, as the log of the receiver tells")
    return Finding(
        WARNING,
        f"a forged delivery is answered with {one.answer.status} instead of 403, and did not reach the store: another "
        "server answers some paths below SCRAPE_DO_WEBHOOK_BASE_URL; pass all of them to the receiver",
    )
