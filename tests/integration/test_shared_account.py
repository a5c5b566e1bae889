"""Test applications that buy with one token from stores of one server: they notice each other, and spare jobs."""

from __future__ import annotations

import pytest
from pipeline import Pipeline

from tests.support.redis_servers import BINARIES, RedisServer

URLS = ["https://a.example/?seconds=600"]
NOTICED = "another application of this server uses the same Scrape.do account"


@pytest.fixture(scope="module", params=BINARIES)
def server(request, tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("server"), BINARIES[request.param](), "--appendfsync", "always") as one:
        yield one


@pytest.fixture
def make_application(server, sandbox, tmp_path):
    """Return a function that makes an application with a store of its own on the server."""
    server.open_client().flushall()
    made = []

    def make(prefix, database, **settings):
        folder = tmp_path / prefix
        folder.mkdir()
        url = f"redis://127.0.0.1:{server.port}"
        urls = {"broker_url": f"{url}/{database + 1}", "result_backend": f"{url}/{database + 2}"}
        made.append(Pipeline(f"{url}/{database}", sandbox, folder, prefix, **urls, **settings))
        return made[-1]

    yield make
    for one in made:
        one.__exit__()


@pytest.mark.long
@pytest.mark.parametrize(("database", "named"), [(0, ""), (5, "shop")], ids=["one database", "two, one names it"])
def test_two_prefixes_with_one_token_are_noticed(make_application, sandbox, eventually, database, named):
    first, second = make_application("first", 0), make_application("second", database, account=named)
    first.work()
    eventually(lambda: "dispatcher has started" in first.log.read_text())
    assert NOTICED not in first.run_tool("doctor").stdout
    second.work()
    eventually(lambda: NOTICED in second.log.read_text())
    assert "key prefix first in database 0" in second.log.read_text()
    for one, other in ((first, f"second in database {database}"), (second, "first in database 0")):
        told = one.run_tool("doctor")
        assert told.returncode == 1
        assert f"{NOTICED} (key prefix {other})" in told.stdout
        assert NOTICED not in one.run_tool("doctor", SCRAPE_DO_SHARED_ACCOUNT="true").stdout

    handle = second.enqueue(URLS)
    job_id = eventually(lambda: handle.job).job_id
    told = first.run_tool("orphans", "--cancel", "--yes")
    assert told.returncode == 1
    assert "never bought for this account" in told.stderr
    own = first.enqueue(URLS)
    eventually(lambda: own.job)
    told = first.run_tool("orphans", "--cancel", "--yes")
    assert told.returncode == 1
    assert f"not stopped  {job_id}: no run of this store has bought the job" in told.stderr
    told = first.run_tool("orphans", "--cancel", "--yes", job_id)
    assert told.returncode == 1
    assert f"not stopped  {job_id}: the job belongs to a run of another application" in told.stderr
    assert "SCRAPE_DO_KEY_PREFIX=second" in told.stderr
    assert [job["canceled"] for job in sandbox.jobs()] == [False, False]


@pytest.mark.long
def test_two_tokens_are_two_accounts(make_application, eventually):
    first, second = make_application("first", 0), make_application("second", 0, api_key="another-token-of-the-user")
    for one in (first, second):
        one.work()
        eventually(lambda one=one: "dispatcher has started" in one.log.read_text())
    for one in (first, second):
        assert NOTICED not in one.run_tool("doctor").stdout + one.log.read_text()
