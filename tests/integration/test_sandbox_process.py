from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

import scrape_do_sandbox
from scrape_do_celery.cli.sandbox import sandbox as sandbox_command
from scrape_do_sandbox import SandboxError, SandboxProcess
from scrape_do_sandbox.options import SandboxOptions
from scrape_do_sandbox.server import READY, SandboxServer, main


def test_a_process_serves_is_controlled_and_ends_well(tmp_path):
    log = tmp_path / "requests.log"
    options = {"token": "t", "strict": True, "full_list": False, "log_file": str(log), "webhook_ladder": (0.5,)}
    with SandboxProcess(task_seconds=0.1, **options) as sandbox:
        assert httpx.get(f"{sandbox.url}/api/v1/me", headers={"X-Token": "t"}, trust_env=False).status_code == 200
        assert httpx.get(f"{sandbox.url}/api/v1/me", headers={"X-Token": "u"}, trust_env=False).status_code == 401
        config = sandbox.configure()
        assert (config["strict"], config["full_list"], config["webhook_ladder"]) == (True, False, [0.5])
        assert "token" not in config
        assert sandbox.stop() == 0
        assert sandbox.stop() is None
        assert sandbox.pid == 0
    assert [json.loads(line)["status"] for line in log.read_text().splitlines()] == [200, 401]


def test_a_process_that_cannot_start_says_so(capfd):
    with pytest.raises(SandboxError, match="printed nothing"):
        SandboxProcess(no_such_option=1).start()
    assert "no-such-option" in capfd.readouterr().err


def test_a_process_that_starts_too_slowly_is_given_up():
    with pytest.raises(SandboxError):
        SandboxProcess(start_timeout=0.0).start()


def test_a_deaf_process_is_killed():
    sandbox = SandboxProcess().start()
    os.kill(sandbox.pid, signal.SIGSTOP)
    assert sandbox.stop(timeout=0.2) == -signal.SIGKILL


def test_sandbox_ends_with_its_parent():
    code = "from scrape_do_sandbox import SandboxProcess as S; s = S().start(); print(s.pid, flush=True)"
    code += "; import os; os._exit(1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    pid = int(done.stdout)
    deadline = time.monotonic() + 20
    while _alive(pid):
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_main_prints_one_line_and_ends_with_0_on_sigterm(capfd):
    seen = []

    def end_when_ready():
        deadline = time.monotonic() + 20
        while not seen and time.monotonic() < deadline:
            seen.extend(line for line in capfd.readouterr().out.splitlines() if line)
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_when_ready).start()
    assert main(["--port", "0", "--task-seconds", "0.2", "--strict", "--parent-pid", str(os.getppid())]) == 0
    assert len(seen) == 1
    assert seen[0].startswith(f"{READY}http://127.0.0.1:")


def test_sandbox_ends_if_its_parent_changed():
    assert main(["--parent-pid", "1" if os.getppid() != 1 else "2"]) == 0


def test_an_ipv6_address_is_written_as_one():
    import asyncio

    async def scenario():
        server = SandboxServer(SandboxOptions())
        await server.start("::1")
        await server.stop()
        return server.url

    assert asyncio.run(scenario()).startswith("http://[::1]:")


@pytest.fixture
def without_aiohttp(monkeypatch):
    """Make `import aiohttp` fail, as in an environment without it."""
    for name in [name for name in sys.modules if name.partition(".")[0] in {"aiohttp", "scrape_do_sandbox"}]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiohttp", None)


def test_missing_library_is_named_with_its_extra(without_aiohttp):
    import scrape_do_sandbox as package

    with pytest.raises(package.SandboxError, match=r"needs aiohttp, .*scrape-do-celery\[sandbox\]"):
        _ = package.SandboxThread
    answer = CliRunner().invoke(sandbox_command, [])
    assert (answer.exit_code, "scrape-do-celery[sandbox]" in answer.output) == (1, True)


def test_the_exported_names():
    assert all(hasattr(scrape_do_sandbox, name) for name in scrape_do_sandbox.__all__)
    with pytest.raises(AttributeError):
        _ = scrape_do_sandbox.nothing
