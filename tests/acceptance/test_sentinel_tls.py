"""Test store, broker and results behind sentinels that all speak TLS, with the server of Debian's package."""

from __future__ import annotations

import os
import shutil

import pytest
import redis
import trustme
from pipeline import Pipeline

from scrape_do_celery import Settings
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.store import Store
from scrape_do_celery.store.commands.runs import ReadRun
from tests.support.redis_servers import RedisServer, SentinelGroup

#: A server with TLS. The servers of wheels have none.
BINARY = os.environ.get("TLS_REDIS_SERVER") or shutil.which("redis-server")

pytestmark = [pytest.mark.long, pytest.mark.skipif(BINARY is None, reason="needs redis-server of Debian")]


def make_kind(folder):
    """Return a kind of server that speaks nothing but TLS, with a certificate of a private authority."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    files = ("--tls-cert-file", "--tls-key-file", "--tls-ca-cert-file")
    paths = (folder / "server.pem", folder / "server.pem", folder / "ca.pem")
    tls = [text for pair in zip(files, map(str, paths), strict=True) for text in pair]

    class TlsServer(RedisServer):
        def _start(self):
            own = ("--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no", "--tls-replication", "yes")
            self._options = (*own, *tls)
            return super()._start()

        def open_client(self, **options):
            tls = {"host": "127.0.0.1", "ssl": True, "ssl_ca_certs": str(folder / "ca.pem")}
            return redis.Redis(port=self.port, socket_timeout=2, **tls, **options)

    return TlsServer


@pytest.fixture
def group(tmp_path):
    (folder := tmp_path / "group").mkdir()
    with SentinelGroup(folder, BINARY, kind=make_kind(folder)) as one:
        one.ca_file = folder / "ca.pem"
        yield one


def test_runs_end_before_and_after_a_failover(group, sandbox, tmp_path):
    url = f"{group.url()}?master_name={group.name}&ssl_ca_certs={group.ca_file}"
    with Pipeline(url, sandbox, tmp_path, "tls") as pipeline:
        worker = pipeline.work(supervised=True)
        assert worker.poll() is None, pipeline.log.read_text()
        before = pipeline.scrape(targets=["https://a.example/1"])
        assert before.get(timeout=60)["outcome"] == "succeeded"
        group.fail_over()
        after = pipeline.enqueue(["https://a.example/2"])
        assert len(after.result(timeout=90).succeeded) == 1
        assert after.async_result.get(timeout=60)["outcome"] == "succeeded"
        assert pipeline.posts() == 2


def test_an_unknown_authority_and_a_plain_connection_are_refused(group):
    url = f"{group.url()}?master_name={group.name}"
    for parameters, said in (("&ssl=true", "certificate verify failed"), ("", "does not answer")):
        store = Store.open(Settings(redis_url=url + parameters).redis_url, "p", timeout=4)
        with pytest.raises(StoreUnavailableError, match=said) as caught:
            store.run(ReadRun("r"))
        assert not caught.value.was_sent
        store.close()
