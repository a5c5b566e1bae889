from __future__ import annotations

import os
import pickle
import warnings

import pytest
from celery import Celery
from pydantic import SecretStr, ValidationError
from redis.connection import parse_url

from scrape_do_celery.client import ScrapeDoAsyncAPIClient
from scrape_do_celery.config import Settings, SettingsError, SettingsWarning, redis_parameters, urls
from scrape_do_celery.config.celery import celery_config, find_missing_servers
from scrape_do_celery.config.settings_table import settings_table
from scrape_do_celery.config.urls import why_exposed
from scrape_do_celery.config.variables import unknown_variables
from scrape_do_celery.diagnostics import check_server_urls
from scrape_do_celery.errors import ConfigurationError, ScrapeDoError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.upper().startswith("SCRAPE_DO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("scrape_do_celery.config.variables._warned", set())


def problems(**values):
    with pytest.raises(SettingsError) as caught:
        Settings(**values)
    return caught.value.problems


def test_defaults():
    settings = Settings()
    assert settings.api_key is None
    assert settings.api_url == "https://q.scrape.do"
    assert settings.redis_url == "redis://localhost:6379/0"
    assert settings.broker_url == "redis://localhost:6379/1"
    assert settings.result_backend == "redis://localhost:6379/2"
    assert (settings.result_ttl, settings.record_ttl, settings.idempotency_ttl) == (86_400, 604_800, 604_800)


def test_arguments_win_over_the_environment(monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_QUEUE", "from-env")
    monkeypatch.setenv("SCRAPE_DO_POLL_JITTER", "false")
    assert Settings().queue == "from-env"
    assert Settings().poll_jitter is False
    assert Settings(queue="given").queue == "given"


def test_settings_are_frozen_and_survive_pickle():
    settings = Settings(api_key="abc")
    with pytest.raises(ValidationError):
        settings.queue = "other"
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_api_key_is_stripped():
    assert Settings(api_key=" abc\n").api_key == SecretStr("abc")


@pytest.mark.parametrize("bad", ["  ", "two words", "töken"])
def test_bad_api_key(bad, monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_API_KEY", bad)
    assert list(problems()) == ["SCRAPE_DO_API_KEY"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://q.scrape.do/", "https://q.scrape.do"),
        ("https://q.scrape.do/api/v1", "https://q.scrape.do"),
        ("https://q.scrape.do/api/v1/", "https://q.scrape.do"),
        ("http://127.0.0.1:8999", "http://127.0.0.1:8999"),
        ("https://proxy.example/scrape/api/v1", "https://proxy.example/scrape"),
    ],
)
def test_api_url(given, kept):
    assert Settings(api_url=given).api_url == kept


@pytest.mark.parametrize("bad", ["", "q.scrape.do", "ftp://q.scrape.do", "https://", "https://h/?a=1", "https://h h"])
def test_bad_api_url(bad):
    assert list(problems(api_url=bad)) == ["SCRAPE_DO_API_URL"]


@pytest.mark.parametrize(
    ("store", "broker", "results"),
    [
        ("redis://h:1/0", "redis://h:1/1", "redis://h:1/2"),
        ("redis://", "redis:///1", "redis:///2"),
        ("redis://u:p%40@h/7", "redis://u:p%40@h/8", "redis://u:p%40@h/9"),
        ("redis://:a;b@h/0", "redis://:a%3Bb@h/1", "redis://:a%3Bb@h/2"),
        ("redis://[::1]:6380/3?db=5&socket_timeout=2", "redis://[::1]:6380/6", "redis://[::1]:6380/7"),
        ("rediss://h/0", "rediss://h/1?ssl_cert_reqs=required", "rediss://h/2?ssl_cert_reqs=required"),
        ("rediss://h/0?ssl_cert_reqs=none", "rediss://h/1?ssl_cert_reqs=none", "rediss://h/2?ssl_cert_reqs=none"),
        ("unix:///a.sock", "redis+socket:///a.sock?virtual_host=1", "redis+socket:///a.sock?virtual_host=2"),
        (
            "unix:///a.sock?db=3&password=p",
            "redis+socket://:p@/a.sock?virtual_host=4",
            "redis+socket://:p@/a.sock?virtual_host=5",
        ),
    ],
)
def test_broker_and_results_lie_beside_the_store(store, broker, results):
    settings = Settings(redis_url=store)
    assert (settings.broker_url, settings.result_backend) == (broker, results)
    assert list(check_server_urls(settings)) == []
    reached = Celery("t", backend=results, set_as_current=False).backend.connparams
    expected = parse_url(store)
    assert reached["db"] == expected.get("db", 0) + 2
    for same in {"host", "port", "path", "username", "password"} & set(expected):
        assert reached[same] == expected[same]


def test_given_broker_is_kept():
    settings = Settings(broker_url="amqp://guest@rabbit//", result_backend="rpc://")
    assert (settings.broker_url, settings.result_backend) == ("amqp://guest@rabbit//", "rpc://")
    assert Settings(broker_url="").broker_url == "redis://localhost:6379/1"
    assert list(check_server_urls(settings)) == []


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("redis+unix:///a.sock", "unix:///path"),
        ("valkey+unix:///a.sock", "unix:///path"),
        ("redis+socket:///a.sock", "redis://"),
        ("memory://", "sentinel://"),
        ("unix://a.sock", "absolute"),
        ("redis://h/zero", "number"),
        ("sentinel://h/0", "name under which the sentinels watch"),
        ("redis+sentinel://h/0", "sentinel://host1"),
        ("sentinel://:secret@h1,h2/0?master_name=m", "name each sentinel"),
        ("sentinel://;redis://h/0?master_name=m", "name each sentinel"),
        ("sentinel://h1;sentinel://h2/3?master_name=m", "same database"),
        ("sentinel://:secret@h1;sentinel://:cret@h2?master_name=m", "sentinel_password"),
        ("sentinel://h1?master_name=m;sentinel://h2?master_name=n", "two values of the parameter master_name"),
        ("sentinel://h/0?master_name=m&min_other_sentinels=x", "number as min_other_sentinels"),
        ("sentinel://h/0?master_name=m&socket_timeout=5s", "parameter socket_timeout"),
        ("sentinel://h/0?master_name=m&sentinel_socket_timeout=5s", "parameter sentinel_socket_timeout"),
        ("sentinel://:secret@h:99999/0?master_name=m", "percent-encode"),
        ("redis://h/²", "number"),
        ("redis://:se/cret@h", "percent-encode"),
        ("redis://:se#cret@h", "percent-encode"),
        ("redis://[h", "percent-encode"),
    ],
)
def test_bad_store_url(bad, said):
    text = problems(redis_url=bad)["SCRAPE_DO_REDIS_URL"]
    assert said in text
    assert ":se" not in text
    assert "cret" not in text


@pytest.mark.parametrize(
    "bad",
    [
        *("localhost", "unix:///a.sock", "redis+unix:///a.sock", "://h", "redis+sentinel://h"),
        "sentinel://h/1?socket_timeout=3",
        "sentinel://h/1?sentinel_tls=true",
    ],
)
@pytest.mark.parametrize("field", ["broker_url", "result_backend"])
def test_bad_celery_url(bad, field):
    assert list(problems(**{field: bad})) == [f"SCRAPE_DO_{field.upper()}"]


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("queue", ""),
        ("queue", "a,b"),
        ("key_prefix", ""),
        ("key_prefix", "a b"),
        ("key_prefix", "{}"),
        ("key_prefix", "{a"),
        ("key_prefix", "a}{b"),
        ("key_prefix", "{a}{b}"),
        ("key_prefix", "{{a}}"),
        ("key_prefix", "{a b}"),
        ("key_prefix", "x" * 101),
        ("queue", "x" * 256),
        ("account", "x" * 256),
        ("account", "x" * 20_000_000),
        ("result_ttl", 59),
        ("poll_initial_interval", 31.0),
        ("poll_max_interval", 0.5),
        ("poll_multiplier", 0.9),
        ("submit_deadline", 0),
        ("submit_visibility_grace", -1),
        ("request_timeout", float("inf")),
        ("request_timeout", float("nan")),
        ("lease_seconds", 0.4),
        ("cancel_grace", -1),
        ("poison_after", 0),
        ("fetch_concurrency", 0),
        ("fetch_concurrency", 201),
        ("max_dispatched_parts", 0),
    ],
)
def test_out_of_bounds(field, bad):
    found = problems(**{field: bad})
    assert found
    assert len(str(found)) < 300


def test_every_problem_is_named_by_its_variable(monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_RESULT_TTL", "5")
    monkeypatch.setenv("SCRAPE_DO_POISON_AFTER", "many")
    with pytest.raises(SettingsError) as caught:
        Settings(record_ttl=1)
    text = str(caught.value)
    assert "SCRAPE_DO_RESULT_TTL: Input should be greater than or equal to 60" in text
    assert "SCRAPE_DO_POISON_AFTER: Input should be a valid integer" in text
    assert "SCRAPE_DO_RECORD_TTL" in text
    assert "many" not in text


def test_cross_checks_name_both_variables():
    assert problems(poll_initial_interval=31) == {
        "SCRAPE_DO_POLL_MAX_INTERVAL": "should be greater than or equal to SCRAPE_DO_POLL_INITIAL_INTERVAL (31.0)"
    }


def test_a_longer_life_of_pages_lengthens_those_that_it_needs():
    settings = Settings(result_ttl=700_000)
    assert (settings.record_ttl, settings.idempotency_ttl) == (700_000, 700_000)
    assert Settings(record_ttl=7200).record_ttl == settings.model_copy(update={"result_ttl": 86_400}).result_ttl


def test_unknown_argument_names_the_nearest():
    assert problems(reslt_ttl=60) == {"reslt_ttl": "unknown argument; did you mean result_ttl?"}
    assert problems(tokn="x") == {"tokn": "unknown argument; did you mean api_key?"}
    assert problems(zzzz=1) == {"zzzz": "unknown argument"}


def test_the_error_is_both_kinds_and_rebuilds_from_json():
    with pytest.raises(SettingsError) as caught:
        Settings(api_key=" ", redis_url="redis://:hunter2@h/x")
    error = caught.value
    assert isinstance(error, ConfigurationError)
    assert isinstance(error, ValueError)
    assert error.__context__ is None
    assert "hunter2" not in repr(error.args)
    again = ScrapeDoError.from_json(error.to_json())
    assert type(again) is SettingsError
    assert again.args == error.args
    assert SettingsError().problems == {}


@pytest.mark.parametrize("show", [repr, str])
def test_no_secret_is_printed(show):
    settings = Settings(
        api_key="sesame",
        api_url="https://me:sesame@proxy.example",
        redis_url="rediss://me:sesame@h/0?ssl_password=sesame",
        broker_url="redis://:sesame@a/1;redis://:ses@me;sesame@b/1",
        result_backend="redis+socket:///a.sock?virtual_host=1&password=sesame",
    )
    text = show(settings)
    assert "sesame" not in text
    assert "ses@" not in text
    assert "me:***@h/0" in text
    assert "sesame" in settings.redis_url


def test_unknown_variables_name_the_nearest():
    environ = {
        "SCRAPE_DO_API_KEY": "x",
        "scrape_do_queue": "x",
        "SCRAPE_DO_DATA_DIR": "x",
        "SCRAPE_DO_REDIS_ULR": "redis://:sesame@h",
        "SCRAPE_DO_TOKN": "sesame",
        "SCRAPE_DO_XYZZY": "sesame",
        "OTHER": "x",
    }
    assert unknown_variables(environ, Settings.model_fields) == [
        "SCRAPE_DO_REDIS_ULR is not a setting and has no effect; did you mean SCRAPE_DO_REDIS_URL?",
        "SCRAPE_DO_TOKN is not a setting and has no effect; did you mean SCRAPE_DO_API_KEY?",
        "SCRAPE_DO_XYZZY is not a setting and has no effect",
    ]


def test_an_unknown_variable_warns_once_a_process(monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_NO_SUCH_THING", "x")
    with pytest.warns(SettingsWarning, match="SCRAPE_DO_NO_SUCH_THING is not a setting") as seen:
        Settings()
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Settings()


def test_unencrypted_api_warns_once_per_process_and_host():
    with pytest.warns(
        SettingsWarning, match="http://plain.example is not encrypted: the token .* use https://"
    ) as seen:
        Settings(api_url="http://user:s3cret@plain.example:8080/")
    assert [warning.filename for warning in seen] == [__file__]
    assert "s3cret" not in str(seen[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Settings(api_url="http://plain.example/elsewhere")
        # The warning comes once per host, also for a URL from an argument.
        ScrapeDoAsyncAPIClient("t0ken", base_url="http://plain.example").close()
    with pytest.warns(SettingsWarning, match="http://plainer.example is not encrypted") as seen:
        ScrapeDoAsyncAPIClient("t0ken", base_url="http://plainer.example").close()
    assert [warning.filename for warning in seen] == [__file__]


@pytest.mark.parametrize(
    ("url", "exposed"),
    [
        ("https://q.scrape.do", False),
        ("http://localhost:8787", False),
        ("http://LOCALHOST./", False),
        ("http://127.0.0.1", False),
        ("http://127.8.9.10:1", False),
        ("http://[::1]:8787", False),
        ("http://10.0.0.1", True),
        ("http://192.168.1.2:8787", True),
        ("http://0.0.0.0", True),
        ("http://[::2]", True),
        ("http://sandbox:8787", True),
        ("http://localhost.example", True),
        ("HTTP://127.0.0.1.example", True),
    ],
)
def test_only_loopback_is_reached_unencrypted_without_a_warning(url, exposed):
    assert (why_exposed(url) is not None) == exposed


def test_settings_table_covers_every_setting():
    rows = {name: (default, text) for name, default, text in settings_table()}
    assert len(rows) == len(Settings.model_fields)
    assert rows["SCRAPE_DO_API_KEY"][0] == "none"
    assert rows["SCRAPE_DO_LEASE_SECONDS"][0] == "30"
    assert rows["SCRAPE_DO_STOP_ON_FAILURE"][0] == "true"
    assert rows["SCRAPE_DO_BROKER_URL"][0] == "database 1 of the store's server"
    assert all(text.endswith(".") for _, text in rows.values())


def test_place_of_a_socket():
    assert urls.redis_location("unix:///a.sock?db=2") == urls.redis_location("redis+socket:///a.sock?virtual_host=2")


def test_a_variable_that_is_empty_is_not_set(monkeypatch):
    """Treat an empty variable as unset: Compose files write a variable that is not set as an empty one."""
    monkeypatch.setenv("SCRAPE_DO_API_KEY", "")
    monkeypatch.setenv("SCRAPE_DO_QUEUE", "")
    assert (Settings().api_key, Settings().queue) == (None, "scrape_do")


@pytest.mark.parametrize(
    ("name", "url", "named"),
    [
        (
            "broker_url",
            "redis://h/1?socket_timeout=5s",
            "a parameter socket_timeout that kombu .*broker_transport_options",
        ),
        ("broker_url", "redis://h/1?tls=true", "a parameter tls that kombu"),
        ("broker_url", "rediss://h/1?ssl_cert_reqs=maybe", "a parameter ssl_cert_reqs that kombu"),
        ("broker_url", "rediss://h/1?ssl_foo=1", "a parameter ssl_foo that kombu"),
        ("broker_url", "rediss://h/1?ssl_ca_certs=/missing.pem", "a parameter ssl_ca_certs whose file"),
        ("broker_url", "amqp://h//?heartbeat=5s", "a parameter heartbeat that kombu"),
        ("broker_url", "amqp://h//?connect_timeout=5", "a parameter connect_timeout that kombu"),
        ("broker_url", "amqp://a//;amqp://b//?foo=1", "a parameter foo that kombu"),
        ("result_backend", "redis://h/1?socket_timeout=5s", "a parameter socket_timeout that redis-py"),
        ("result_backend", "redis://h/1?tls=true", "a parameter tls that redis-py"),
    ],
)
def test_url_parameters_are_checked_as_celery_reads_them(name, url, named):
    variable = f"SCRAPE_DO_{name.upper()}"
    with pytest.raises(SettingsError, match=f"{variable}: has {named}") as caught:
        Settings(**{name: url})
    assert list(caught.value.problems) == [variable]


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("broker_url", "rediss://h/1?ssl_cert_reqs=CERT_NONE"),
        ("broker_url", "amqp://u:p@a//?heartbeat=10;amqp://b//"),
        ("broker_url", "sqs://?region=eu"),
        ("broker_url", "memory://"),
        ("result_backend", "rpc://"),
        ("result_backend", "db+sqlite:///x.db?tls=true"),
        ("result_backend", "rediss://h/2?ssl_cert_reqs=CERT_REQUIRED&socket_timeout=5"),
        ("result_backend", "redis://h/2?credential_provider=shop.Provider"),
    ],
)
def test_url_parameters_that_celery_takes(name, url):
    assert getattr(Settings(**{name: url}), name) == url


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis://h/0?tls=true", "a parameter tls that"),
        ("redis://h/0?socket_timeout=5s", "a parameter socket_timeout that"),
        ("rediss://h/0?ssl_cert_reqs=maybe", "a parameter ssl_cert_reqs that"),
        ("redis://h/0?ssl_cert_reqs=required", "a parameter ssl_cert_reqs that"),
        ("redis://h/0?retry=3", "a parameter retry that"),
        ("rediss://h/0?ssl_ca_certs=/missing.pem", "a parameter ssl_ca_certs whose file"),
    ],
)
def test_url_parameters_are_checked_as_redis_reads_them(url, named):
    with pytest.raises(SettingsError, match=f"SCRAPE_DO_REDIS_URL: has {named}") as caught:
        Settings(redis_url=url)
    assert list(caught.value.problems) == ["SCRAPE_DO_REDIS_URL"]


def test_parameters_are_checked_together(monkeypatch):
    monkeypatch.setattr(redis_parameters, "_is_accepted", lambda url: "&" not in url)
    with pytest.raises(SettingsError, match="parameters that do not go together: db, protocol"):
        Settings(redis_url="redis://h?db=0&protocol=3")


@pytest.mark.parametrize("name", ["none", "optional", "required"])
@pytest.mark.parametrize("spell", ["{}", "CERT_{}", "cert_{}"])
def test_the_check_of_a_certificate_takes_each_spelling(name, spell):
    url = f"rediss://h/0?ssl_cert_reqs={spell.format(name)}".replace("CERT_" + name, "CERT_" + name.upper())
    assert Settings(redis_url=url).redis_url == url
    assert redis_parameters.normalize_url(url) == f"rediss://h/0?ssl_cert_reqs={name}"


def test_celery_s_name_of_the_database_is_accepted():
    url = Settings(redis_url="unix:///a.sock?virtual_host=3").redis_url
    assert redis_parameters.normalize_url(url) == "unix:///a.sock?db=3"


@pytest.mark.parametrize("prefix", ["{a}", "a{b}", "{a}:b", "a{b}c"])
def test_a_hash_tag_derives_no_servers_for_celery(prefix):
    settings = Settings(key_prefix=prefix, redis_url="redis://a:7000/0;redis://b:7000/0")
    assert (settings.broker_url, settings.result_backend) == ("", "")
    text = find_missing_servers(settings)
    assert text.startswith("SCRAPE_DO_BROKER_URL and SCRAPE_DO_RESULT_BACKEND must be set")
    named = Settings(key_prefix=prefix, broker_url="amqp://c")
    assert find_missing_servers(named).startswith("SCRAPE_DO_RESULT_BACKEND must be set")
    complete = Settings(key_prefix=prefix, broker_url="amqp://c", result_backend="rpc://")
    assert find_missing_servers(complete) is None
    assert all(celery_config(one) for one in (settings, named, complete))


def test_several_nodes_of_a_cluster_are_one_store():
    nodes = "redis://u:p;q@a:7000/0;redis://b:7001"
    assert Settings(redis_url=nodes).redis_url == nodes
    assert urls.split_nodes(nodes) == ["redis://u:p;q@a:7000/0", "redis://b:7001"]
    assert urls.masked(nodes) == "redis://u:***@a:7000/0;redis://b:7001"
    assert urls.redis_location(nodes) == urls.redis_location("redis://a:7000/0")
    assert "SCRAPE_DO_REDIS_URL" in problems(redis_url="redis://a:7000/0;rediss://b:7001/0")
    assert "SCRAPE_DO_REDIS_URL" in problems(redis_url="redis://a:7000/0;redis://b:7001/x")
