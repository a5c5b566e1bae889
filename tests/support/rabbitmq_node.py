"""A RabbitMQ node for one test, from Debian's package, with all files in one folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

#: Debian's folder of the scripts that do not require the system's own node.
BIN = Path("/usr/lib/rabbitmq/bin")


class RabbitMQNode:
    """A node on a free port. `url` is a value for a Celery app's broker_url."""

    def __init__(self, folder):
        self.folder = folder
        port, dist, epmd = _free(), _free(), _free()
        self.url = f"amqp://guest:guest@127.0.0.1:{port}//"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")},
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"t{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(dist),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def __enter__(self):
        with (self.folder / "output").open("wb") as output:
            self._server = subprocess.Popen(
                [BIN / "rabbitmq-server"], env=self.environment, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while b"completed with" not in (self.folder / "output").read_bytes():
            assert self._server.poll() is None, (self.folder / "output").read_text()
            if time.monotonic() > deadline:
                raise TimeoutError((self.folder / "output").read_text())
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        os.killpg(self._server.pid, signal.SIGTERM)
        try:
            self._server.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(10)
        # epmd outlives the node that started it.
        subprocess.run(["epmd", "-kill"], env=self.environment, capture_output=True, check=False)


def _free():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
