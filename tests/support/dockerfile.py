"""Read worker/Dockerfile, and lay its stages out in folders of this machine without an engine."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from docker.utils.build import exclude_paths

ROOT = Path(__file__).parents[2]
FILE = ROOT / "worker" / "Dockerfile"
#: The folder of the interpreter with the build tools, as in the base image.
_TOOLS = Path(sys.executable).parent


@dataclass
class Stage:
    """A stage: its base, and its steps in order."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, kind, default=""):
        return next((text for step, text in reversed(self.steps) if step == kind), default)


def read(text=None):
    """Return the stages by name."""
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text or FILE.read_text())).splitlines()
    stages = {}
    for kind, _, rest in (line.strip().partition(" ") for line in lines if line.strip()):
        if kind == "FROM":
            base, _, name = rest.partition(" AS ")
            stages[name] = Stage(name, base)
        elif stages:
            stages[next(reversed(stages))].steps.append((kind, rest.strip()))
    return stages


def chain(stages, name):
    """Return a stage and its bases, the first base first."""
    stage = stages.get(name)
    return [] if stage is None else [*chain(stages, stage.base), stage]


def sent(folder=ROOT):
    """Return the files that a build gets, by the folder's .dockerignore."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    return {name for name in exclude_paths(str(folder), patterns) if (folder / name).is_file()}


class ImageFolders:
    """Images as folders: `root(stage)` holds the image's files from `/` on."""

    def __init__(self, folder):
        self.folder, self.stages, self.ran = folder, read(), []
        self._sent = sent()

    def root(self, name):
        return self.folder / name

    def environment(self, name):
        """Return the variables that an image sets."""
        found = {}
        for stage in chain(self.stages, name):
            for words in (shlex.split(text) for step, text in stage.steps if step == "ENV"):
                found |= dict(word.split("=", 1) for word in words)
        return {key: self._here(value, name) for key, value in found.items()}

    def words(self, name, kind):
        """Return an instruction in JSON form, such as ENTRYPOINT, of the stage or of a base."""
        texts = [text for stage in chain(self.stages, name) for step, text in stage.steps if step == kind]
        return json.loads(texts[-1])

    def build(self, name):
        """Lay a stage out, unless its folder exists. Its steps run unchanged."""
        if self.root(name).exists():
            return
        stage = self.stages[name]
        if stage.base in self.stages:
            self.build(stage.base)
            self._inherit(stage.base, name)
        self.root(name).mkdir(exist_ok=True)
        workdir = next((text for one in reversed(chain(self.stages, name)) if (text := one.last("WORKDIR"))), "/")
        place = self.root(name) / workdir.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        for kind, text in stage.steps:
            if kind == "COPY":
                self._copy(name, shlex.split(text), place)
            # Users and owners depend on the machine.
            elif kind == "RUN" and not text.startswith("useradd "):
                self._run(name, text, place)

    def _run(self, name, text, place):
        variables = self.environment(name)
        path = os.pathsep.join([str(_TOOLS), os.environ["PATH"]])
        done = subprocess.run(
            ["/bin/sh", "-ec", self._here(text, name)],
            cwd=place,
            env={**os.environ, **variables, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        self.ran.append(text)

    def _copy(self, name, words, place):
        options = [word for word in words if word.startswith("--")]
        *sources, target = [word for word in words if not word.startswith("--")]
        to = self.root(name) / target.lstrip("/") if target.startswith("/") else place / target
        for option in options:
            if option.startswith("--from="):
                other = option.partition("=")[2]
                self.build(other)
                to.parent.mkdir(parents=True, exist_ok=True)
                to.symlink_to(self.root(other) / sources[0].lstrip("/"))
                return
        for source in sources:
            whole = ROOT / source
            files = [one for one in self._sent if one == source or one.startswith(f"{source}/")]
            assert files, f"COPY {source}: the .dockerignore leaves nothing of it"
            for one in files:
                inside = Path(one).relative_to(source) if whole.is_dir() else Path(whole.name)
                final = to / inside if whole.is_dir() or target.endswith("/") else to
                final.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / one, final)
                if "--chmod=0755" in options:
                    final.chmod(0o755)

    def _inherit(self, base, name):
        """Make a copy for changes. Scripts name their interpreter by its path, which is constant in an image."""
        subprocess.run(["cp", "-al", self.root(base), self.root(name)], check=True)
        for script in (self.root(name) / "opt" / "venv" / "bin").glob("*"):
            if not script.is_symlink() and (text := script.read_bytes()).startswith(b"#!"):
                script.unlink()
                script.write_bytes(text.replace(bytes(self.root(base)), bytes(self.root(name))))
                script.chmod(0o755)

    def _here(self, text, name):
        """Replace folders of the image by those of this machine."""
        return re.sub(r"(?<![\w.])/(?=(?:opt|app|build)/)", f"{self.root(name)}/", text)
