"""Every check that `doctor` and a starting worker run. A check returns findings, and neither prints nor logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from celery import Task
from celery.app.annotations import resolve_all
from celery.backends.redis import RedisBackend
from kombu.exceptions import KombuError
from kombu.serialization import registry
from redis.exceptions import NoPermissionError, RedisError

from scrape_do_celery import routing
from scrape_do_celery.config import Settings
from scrape_do_celery.config.celery_parameters import check_backend_parameters, check_broker_parameters
from scrape_do_celery.config.urls import redis_location, why_exposed
from scrape_do_celery.config.variables import env_name, unknown_variables
from scrape_do_celery.errors import ConfigurationError, StoreUnavailableError
from scrape_do_celery.errors.base import advise_on_outage
from scrape_do_celery.findings import OK, WARNING, WRONG, Finding
from scrape_do_celery.rules.waits import spell_since
from scrape_do_celery.runs.celery_app import is_own_app, refuse_missing_servers
from scrape_do_celery.runs.stand_in_producers import has_reply_queues
from scrape_do_celery.sentinel_checks import check_broker_retry, check_failover, find_unknown_primaries
from scrape_do_celery.server_checks import check_durability, check_rights, find_eviction, read_info
from scrape_do_celery.store.commands.stats import ReadClock, ReadEncryptionKeys
from scrape_do_celery.store.scans import count_parts_by_account, find_newer_versions
from scrape_do_celery.store.server_kinds import find_slot, refuse_unfit_server
from scrape_do_celery.store.token_refusals import read_refusal
from scrape_do_celery.store.versions import RECORD_VERSION

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from celery import Celery

    from scrape_do_celery.store import Store

_OLDEST_REDIS: Final = (6, 2)
#: First entries of each due set whose account is read.
_CHECKED_ENTRIES: Final = 1000
_TIMEOUT: Final = 2.0
#: Setting of a Celery app, its safe value, and the effect of other values. Tested with Celery 5.7; see docs.
_SAFE_CELERY: Final = (
    ("result_backend_always_retry", True, "a finished result is lost if the result backend is down for four seconds"),
    ("worker_prefetch_multiplier", 1, "messages that a dead worker had prefetched come back only after an hour"),
    ("broker_connection_retry_on_startup", True, "a worker exits if it starts before its broker"),
)
_LONGEST_VISIBILITY: Final = 900
_AMQP_SCHEMES: Final = ("amqp", "amqps", "pyamqp")


# Settings


def check_variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Find the `SCRAPE_DO_*` variables that nothing reads."""
    for text in unknown_variables(environ, Settings.model_fields):
        yield Finding(WARNING, text)


def check_token(settings: Settings) -> Iterator[Finding]:
    """Check that the token is set, and travels encrypted."""
    if exposed := why_exposed(settings.api_url):
        yield Finding(WARNING, f"SCRAPE_DO_API_URL: {exposed}")
    if settings.api_key is None:
        yield Finding(
            WARNING,
            "SCRAPE_DO_API_KEY is not set: producers do not need it; without it, `scrape_do_celery.worker` does not "
            "start, and workers of Django, Flask or your own app skip the queue of scrapes",
        )


def check_server_urls(settings: Settings) -> Iterator[Finding]:
    """Find the dangers in the URLs of the broker and of the result backend."""
    yield from _check_server_url("broker_url", "broker", settings)
    yield from _check_server_url("result_backend", "result backend", settings)


def _check_server_url(name: str, server: str, settings: Settings) -> Iterator[Finding]:
    url: str = getattr(settings, name)
    if _location_or_none(url) == redis_location(settings.redis_url):
        yield Finding(
            WARNING,
            f"{env_name(name)} is the database of {env_name('redis_url')}: a flush of the {server} erases runs "
            "and paid pages. Give each a database of its own.",
        )
    if url.startswith("rediss://") and "ssl_cert_reqs=" not in url:
        yield Finding(
            WARNING,
            f"{env_name(name)} has no ssl_cert_reqs: kombu checks no certificate, and Celery's Redis backend does not "
            "start. Add ?ssl_cert_reqs=required.",
        )


def _location_or_none(url: str) -> object:
    try:
        return redis_location(url)
    except ValueError:
        return None  # a spelling that only kombu reads, such as a list of brokers


# The Celery app


def check_celery_app(app: Celery) -> Iterator[Finding]:
    """Find the settings of a foreign app that can lose results, messages or workers. Only its owner may change them."""
    conf = app.conf
    for name, safe, effect in _SAFE_CELERY:
        if getattr(conf, name) != safe:
            yield Finding(WARNING, f"{name} is {getattr(conf, name)!r}: {effect}; set it to {safe!r}")
    if not conf.result_backend and not is_own_app(app):
        text = "result_backend is not set: AsyncResult cannot show how a run ended; set it, or use RunHandle.result()"
        yield Finding(WARNING, text)
    timeout = conf.broker_transport_options.get("visibility_timeout", 3600)
    if str(conf.broker_url).startswith(("redis", "sentinel")) and timeout > _LONGEST_VISIBILITY:
        yield Finding(
            WARNING,
            f"broker_transport_options visibility_timeout is {timeout} s: messages of a killed worker come back only "
            f"after this time; set it to {_LONGEST_VISIBILITY}",
        )
    is_amqp = str(conf.broker_url).partition(":")[0] in _AMQP_SCHEMES
    if is_amqp and has_reply_queues(app) and not conf.broker_transport_options.get("confirm_publish"):
        yield Finding(
            WARNING,
            "result_backend is rpc:// and the broker confirms no message: a result that the broker loses never reaches "
            "its caller; set broker_transport_options confirm_publish to True, or read RunHandle.result()",
        )
    name = conf.task_serializer
    if _content_type(name) not in {_content_type(accepted) for accepted in conf.accept_content}:
        yield Finding(
            WARNING, f"accept_content has no {name}: steps are sent as {name}, so workers refuse them; add it"
        )
    yield from check_broker_retry(app)
    yield from _check_task_options(app)


def _content_type(serializer: str) -> str:
    """Return the content type of a serializer, which may be named by either."""
    return str(registry.name_to_type.get(serializer, serializer))


def _check_task_options(app: Celery) -> Iterator[Finding]:
    """Name the options that the app gives to all tasks, and whether they apply to the tasks of this package."""
    inherited = [name for name in routing.PINNED if getattr(app.Task, name, None) != getattr(Task, name, None)]
    tasks = [task for name, task in app.tasks.items() if name in routing.NAMES]
    annotated = {name for task in tasks for found in resolve_all(app.annotations, task) for name in found}
    ignored = {
        "the class of the app's tasks": inherited,
        "task_default_rate_limit": ["rate_limit"] if app.conf.task_default_rate_limit else [],
        "task_annotations": sorted(annotated & set(routing.PINNED)),
    }
    for source, names in ignored.items():
        if names:
            text = f"{source}: {', '.join(names)} does not apply to the tasks of scrape_do, which set their own"
            hint = "; SCRAPE_DO_REQUEST_RATE limits requests" if "rate_limit" in names else ""
            yield Finding(WARNING, text + hint)
    if applied := ", ".join(sorted(annotated - set(routing.PINNED))):
        text = f"task_annotations: {applied} also applies to the tasks of scrape_do; name tasks instead of *"
        yield Finding(WARNING, text)


def check_broker(app: Celery, told: Collection[str] = ()) -> Iterator[Finding]:
    """Check that messages can be sent and results can be read. A fault of a setting in `told` is not told again."""
    try:
        refuse_missing_servers(app)
    except ConfigurationError as error:
        yield Finding(WRONG, str(error))
        return
    for name, check in (("broker_url", check_broker_parameters), ("result_backend", check_backend_parameters)):
        try:
            check(str(getattr(app.conf, name) or ""))
        except ValueError as error:
            # Celery itself would fail with an error that does not name the parameter.
            yield Finding(WRONG, f"{name} {error}")
            return
    if faults := find_unknown_primaries(app):
        yield from (Finding(WRONG, f"{place} {fault}") for place, fault in faults.items() if place not in told)
        return
    try:
        with app.connection_for_write(connect_timeout=_TIMEOUT) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=_TIMEOUT)
            yield Finding(OK, f"the broker answers at {connection.as_uri()}")
    except (KombuError, OSError) as error:
        yield Finding(WRONG, f"broker_url: the broker does not answer ({type(error).__name__}): {error}")
    try:
        if isinstance(app.backend, RedisBackend):
            app.backend.client.ping()
            yield Finding(OK, f"the result backend answers at {app.backend.as_uri()}")
    except (RedisError, OSError) as error:
        yield Finding(WRONG, f"result_backend: the server does not answer ({type(error).__name__}): {error}")


def check_workers(app: Celery, queue: str) -> Iterator[Finding]:
    """Check that a worker consumes the queue of the steps."""
    try:
        with app.connection_for_write(connect_timeout=_TIMEOUT) as connection:
            answers = app.control.inspect(timeout=1.0, connection=connection).active_queues() or {}
    except (KombuError, RedisError, OSError, TypeError, ValueError, KeyError, ConfigurationError):
        # The broker is missing or away, or kombu cannot read its URL: `check_broker` says so.
        return
    # A node that answers without queues is no worker.
    names = sorted(name for name, queues in answers.items() if queue in {one["name"] for one in queues or ()})
    if names:
        yield Finding(OK, f"workers on the queue {queue}: {', '.join(names)}")
    else:
        others = f"; {', '.join(sorted(answers))} consume other queues" if answers else ""
        yield Finding(
            WARNING,
            f"no worker of the queue {queue} answered within 1 s{others}: without a worker, runs wait; start one; with "
            f"-Q, name your own queues beside {queue}",
        )


# The store


def check_store(store: Store, account: str = "") -> Iterator[Finding]:
    """Check that the store answers and takes writes, keeps paid contents, and holds parts of this account only."""
    try:
        info = read_info(store)
        refuse_unfit_server(store)
        findings = list(check_rights(store))
    except ConfigurationError as error:
        yield Finding(WRONG, str(error))
        return
    except RedisError as error:
        yield Finding(WRONG, f"SCRAPE_DO_REDIS_URL: {_describe_outage(store, error)}")
        return
    version = str((info or {}).get("redis_version", "unknown"))
    yield Finding(OK, f"the store answers at {store.where}, version {(info or {}).get('valkey_version', version)}")
    if slot := find_slot(store):
        yield Finding(OK, slot)
    if info is not None and _read_version(version) < _OLDEST_REDIS:
        yield Finding(
            WRONG, f"the store is version {version}: Celery's transport needs 6.2 or newer; upgrade the server"
        )
    yield from findings
    yield from check_durability(store)
    yield from check_failover(store)
    if eviction := find_eviction(store):
        yield Finding(WRONG, eviction)
    try:
        if account:
            yield from _check_other_accounts(store, account)
    except NoPermissionError as error:
        yield Finding(WARNING, f"jobs of other accounts cannot be found: allow +scan ({error})")


def _describe_outage(store: Store, error: RedisError) -> str:
    if isinstance(error, StoreUnavailableError) and error.reason:
        return str(error)
    cause = error.__cause__ or error
    return f"the store at {store.where} does not answer ({type(cause).__name__}): {cause}{advise_on_outage(error)}"


def check_encryption_keys(store: Store, record_ttl: float) -> Iterator[Finding]:
    """Find the encryption keys that runs of the store need and this process does not have."""
    todo = "add it after the first key" if store.key_names else "the variable is not set: set it to that key"
    used, now = store.run(ReadEncryptionKeys()), store.run(ReadClock())
    for name, at in sorted(used.items()):
        if name not in store.key_names and now - at < record_ttl:
            yield Finding(
                WRONG,
                f"runs of the store are encrypted with key {name}, which SCRAPE_DO_ENCRYPTION_KEY of this process "
                f"lacks: the runs wait for a worker with the key; {todo}",
            )


def check_record_versions(store: Store) -> Iterator[Finding]:
    """Find runs that a newer version of this package wrote, among the runs that are due next."""
    for version, count in sorted(find_newer_versions(store, _CHECKED_ENTRIES).items()):
        yield Finding(
            WARNING,
            f"{count} run(s) have records of version {version}, and this process reads version {RECORD_VERSION}: it "
            "leaves them alone, and they wait for workers of the newer scrape-do-celery; upgrade this process",
        )


def _check_other_accounts(store: Store, mine: str) -> Iterator[Finding]:
    """Find parts that wait for a worker of another account, among the parts that are due next."""
    others = count_parts_by_account(store, _CHECKED_ENTRIES)
    del others[mine]
    for account, count in others.items():
        refusal = read_refusal(store, account)
        refused = f"; the API has refused that token{spell_since(refusal.since)}" if refusal else ""
        yield Finding(
            WARNING,
            f"{count} job(s) were bought with the token of another account ({account}; this one is {mine}): the jobs "
            f"wait; start a worker with that token, and keep the token valid until they end{refused}",
        )


def _read_version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
