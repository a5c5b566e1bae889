"""Run the services of docker-compose.yml on this machine without an engine.

Commands, checks and variables come from the files. Only the engine's part is replaced: names and ports of this machine
stand for those of the network, and folders for images and volumes.
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import time
from functools import cache

from composefile import ROOT, fill, load, seconds

from scrape_do_celery import embedded

#: Ports inside the containers.
_PORTS = ("6379", "8787", "5555", "8000")


class ComposeServices:
    """The services, each a process of its own. `variables` holds the contents of .env."""

    def __init__(self, images, folder, variables):
        self.images, self.folder, self.variables = images, folder, variables
        self.services = fill(load(), variables)["services"]
        self.ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self.processes = {}

    def __enter__(self):
        self.folder.mkdir()
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()

    def up(self, name):
        """Start a service once its dependencies are healthy. The dependencies are started too."""
        for other, how in self.services[name].get("depends_on", {}).items():
            if how.get("required", True) or other in self.processes:
                if other not in self.processes:
                    self.up(other)
                self.wait(other)
        self.start(name)

    def start(self, name):
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self.command(name),
                cwd=self._workdir(name),
                env=self.environment(name),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, name, within=60.0):
        """Wait until the service is healthy."""
        deadline = time.monotonic() + within
        while self.health(name) != 0:
            running = self.processes[name].poll() is None
            assert running, f"{name} ended with {self.processes[name].returncode}: {self.said(name)}"
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} is not healthy: {self.said(name)}")
            time.sleep(0.1)

    def health(self, name):
        """Return the exit code of the health check, or None if the check exceeds its timeout."""
        check = self.services[name]["healthcheck"]
        kind, *words = check["test"]
        words = ["/bin/sh", "-c", f"exec {words[0]}"] if kind == "CMD-SHELL" else words
        try:
            return subprocess.run(
                [self._here(word, name) for word in words],
                cwd=self._workdir(name),
                env=self.environment(name),
                timeout=seconds(check["timeout"]),
                capture_output=True,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return None

    def stop(self, name):
        """Stop the service within its grace period, and return its exit code."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(seconds(self.services[name]["stop_grace_period"]))
        finally:
            process.kill()

    def run(self, name):
        """Run a service that ends by itself, and return its exit code."""
        self.start(name)
        return self.processes.pop(name).wait(120)

    def execute(self, name, *command):
        """Run a command beside that of a service, as `docker compose exec` does."""
        return subprocess.run(
            command,
            cwd=self._workdir(name),
            env=self.environment(name),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def log(self, name):
        return self.folder / f"{name}.log"

    def said(self, name):
        return self.log(name).read_text(errors="replace")

    def port(self, inside):
        return self.ports[str(inside)]

    def command(self, name):
        service = self.services[name]
        entry = self.images.words(service["build"]["target"], "ENTRYPOINT") if "build" in service else []
        return [self._here(word, name) for word in [*entry, *service["command"]]]

    def environment(self, name):
        """Return the container's variables: of the image, of .env, of the file."""
        service = self.services[name]
        image = self.images.environment(service["build"]["target"]) if "build" in service else {}
        given = {**self.variables, **service.get("environment", {})} if service.get("env_file") else {}
        given |= {key: self.variables.get(key) for key, value in given.items() if value is None}
        here = {key: self._here(value, name) for key, value in {**image, **given}.items() if value is not None}
        path = [str(self._root(name) / "usr/local/bin"), str(self._root(name) / "opt/venv/bin")]
        # The image's user has no home. Here, too, nothing can be written there.
        return {
            **here,
            "HOME": "/proc",
            "PATH": os.pathsep.join([*path, "/usr/bin", "/bin"]),
            "HOSTNAME": socket.gethostname(),
        }

    def _root(self, name):
        service = self.services[name]
        if "build" in service:
            self.images.build(service["build"]["target"])
            return self.images.root(service["build"]["target"])
        return self._server_image()

    def _server_image(self):
        """Return a folder in place of the server's image: PyPI's server under the name that it has in the image."""
        place = self.folder / "server"
        (place / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        link = place / "usr/local/bin/valkey-server"
        if not link.is_symlink():
            link.symlink_to(embedded.server_binary())
        return place

    def _workdir(self, name):
        return self._root(name) / "app" if "build" in self.services[name] else self._server_image()

    def _here(self, text, name):
        """Replace names, ports and folders in a text of the file or of the image by those of this machine."""
        for inside, outside in self._folders(name).items():
            text = re.sub(rf"(?<![\w.]){re.escape(inside)}(?![\w.])", outside, text)
        text = re.sub(r"(?<=//)(redis|sandbox)(?=:)", "127.0.0.1", text).replace("0.0.0.0", "127.0.0.1")
        return re.sub(rf"(?<![\d.])({'|'.join(_PORTS)})(?!\d)", lambda found: str(self.ports[found[1]]), text)

    @cache  # noqa: B019 (lives as long as a test)
    def _folders(self, name):
        """Map folders of a service's container to the folders of its volumes and configs."""
        service, found = self.services[name], {}
        for volume, _, inside in (one.partition(":") for one in service.get("volumes", ())):
            (self.folder / "volumes" / volume).mkdir(parents=True, exist_ok=True)
            found[inside] = str(self.folder / "volumes" / volume)
        for config in service.get("configs", ()):
            found[config["target"]] = str(ROOT / load()["configs"][config["source"]]["file"])
        return found


def _free_ports(count):
    """Return ports without a listener, below the range from which the kernel gives ports to new connections."""
    found = []
    while len(found) < count:
        port = random.randrange(12_000, 20_000)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found
