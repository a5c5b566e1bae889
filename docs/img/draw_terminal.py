"""Play the tutorial's commands on terminals, and draw what they print: `python docs/img/draw_terminal.py`.

The page `docs/tutorial/first-run.md` is the script of the play. Each block `console` is typed into a real shell on a
pseudo-terminal. A picture after the block shows the terminal, for light and for dark pages.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import select
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import uuid
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import pyte
from rich.color_triplet import ColorTriplet
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HERE: Final = Path(__file__).parent
PAGE: Final = HERE.parent / "tutorial" / "first-run.md"
COLUMNS: Final = 124
#: The size of a character in a picture that has room.
CHARACTER: Final = 7.4
#: More lines than a picture has, so that no line leaves the screen.
LINES: Final = 100
#: The port that the page names. A play uses a free port with the same number of digits in its place.
PORT: Final = "8787"
#: Commands that go on -> the text by which each says that it is ready.
SERVERS: Final = {"redis": "export ", "sandbox": "listening on", "worker": "[queues]"}
#: Ctrl-C as the page writes it, which is also the echo of a terminal.
CTRL_C: Final = "^C"

#: The marks of shell integration: the shell is ready for a command, and the exit code of the last one.
_PROMPT: Final = r"\[\e]133;D;$?\a\e]133;A\a\e[1;32m\]$\[\e[0m\] "
_SHOWN_PROMPT: Final = b"\x1b[1;32m$\x1b[0m "
_READY: Final = re.compile(rb"\x1b]133;D;(\d+)\x07\x1b]133;A\x07" + re.escape(_SHOWN_PROMPT) + b"$")
_STEP: Final = re.compile(
    r"Save this as `(?P<file>[\w.]+)`.*?```python\n(?P<code>.*?)```"
    r"|```console\n(?P<typed>.*?)```(?:\n\n<picture>\n.*?terminal-(?P<picture>[a-z-]+)-dark\.svg)?",
    re.DOTALL,
)
#: A bar that has moved, at the end of a frame.
_MOVED: Final = re.compile(rb"m[1-9]/\d\x1b[^\r]*running$")
_UUID: Final = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME: Final = re.compile(rb"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_ELAPSED: Final = re.compile(rb"(?<=m)\d:\d\d:\d\d(?=\x1b)")

#: Black, red, green, yellow, blue, magenta, cyan and white.
_LIGHT: Final = "24292f cf222e 116329 7d4e00 0969da 8250df 1b7c83 6e7781"
_DARK: Final = "484f58 ff7b72 3fb950 d29922 58a6ff bc8cff 39c5cf b1bac4"


def _theme(background: str, foreground: str, colors: str) -> TerminalTheme:
    split = [ColorTriplet(*bytes.fromhex(one)) for one in (background, foreground, *colors.split())]
    return TerminalTheme(split[0], split[1], list(split[2:]))


THEMES: Final = {"light": _theme("f6f8fa", "1f2328", _LIGHT), "dark": _theme("161b22", "e6edf3", _DARK)}
#: As rich's own form, but without fonts of another host.
SVG: Final = """\
<svg width="WIDTH" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<style>
text {{ font: {char_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
{styles}
</style>
<defs>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
{matrix}
</g>
</svg>
"""


class TutorialStep(NamedTuple):
    """A file to save, or lines to type, and the name of the picture that shows them."""

    file: str | None
    code: str | None
    typed: tuple[str, ...]
    picture: str | None


def read_steps(text: str) -> Iterator[TutorialStep]:
    """Yield the steps of the page from the first server on. Before it, the page installs the package."""
    start = text.index("## Start the servers")
    for found in _STEP.finditer(text, start):
        lines = (found["typed"] or "").splitlines()
        typed = tuple(line.removeprefix("$ ") for line in lines if line.startswith("$ ") or line == CTRL_C)
        yield TutorialStep(found["file"], found["code"], typed, found["picture"])


class Terminal:
    """A shell on a pseudo-terminal of a fixed size."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """Start the shell."""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            ["/bin/bash", "--norc", "--noprofile", "--noediting", "-i"],
            cwd=folder,
            env={**environment, "PS1": _PROMPT},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=_take_terminal,  # noqa: PLW1509 (Ctrl-C reaches only the session that owns the terminal)
        )
        os.close(slave)
        self.recorded = b""
        self.is_free = True
        self._read_until(_READY)
        self.clear()

    def clear(self) -> None:
        """Forget all that was printed but the prompt."""
        self.recorded = _SHOWN_PROMPT

    def type(self, line: str) -> None:
        """Type a line. Unless it starts a server, wait for its end."""
        self._press(f"{line}\n")
        server = re.match(r"scrape-do (\w+)", line)
        ready = SERVERS.get(server[1]) if server else None
        self._read_until(re.compile(re.escape(ready).encode()) if ready else _READY)
        self.is_free = not ready

    def start(self, line: str) -> None:
        """Type a line, and wait until its bar has moved."""
        self._press(f"{line}\n")
        self._read_until(_MOVED)

    def interrupt(self) -> None:
        """Press Ctrl-C, and wait for the prompt."""
        self._press("\x03")
        self._read_until(_READY)

    def close(self) -> None:
        """End the command as a reader does, and then the shell."""
        with contextlib.suppress(TimeoutError):
            if not self.is_free:
                self.interrupt()
        os.close(self._master)
        self._process.wait(30)

    def _press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def _read_until(self, wanted: re.Pattern[bytes], seconds: float = 90) -> None:
        start, deadline = len(self.recorded), time.monotonic() + seconds
        while not wanted.search(self.recorded, start):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the terminal never showed {wanted.pattern!r}:\n{self.recorded.decode()}")
            if select.select([self._master], [], [], 0.2)[0]:
                self.recorded += os.read(self._master, 65_536)


def _take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Play:
    """The terminals of one play of the page, and the recordings of its pictures."""

    def __init__(self, folder: Path) -> None:
        """Start without a terminal."""
        self._folder = folder
        self._terminals: list[Terminal] = []
        self._port = _find_free_port()
        self._redis_url = ""
        self._run_id = ""

    def __enter__(self) -> Self:
        """Return the play."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the terminals, the last one first: a worker ends before its Redis."""
        for terminal in reversed(self._terminals):
            terminal.close()

    def record(self, steps: Sequence[TutorialStep]) -> Iterator[tuple[str, bytes]]:
        """Play the steps. Yield the name and the recording of each picture."""
        for step, following in zip(steps, (*steps[1:], None), strict=True):
            if step.file:
                (self._folder / step.file).write_text(step.code or "")
            if step.typed:
                recorded = self._play([*step.typed, *(following.typed[:1] if following else ())], len(step.typed))
                if step.picture:
                    yield step.picture, recorded

    def _play(self, lines: Sequence[str], number: int) -> bytes:
        """Type a number of the lines, and return what was shown. The line after them says how the last one goes on."""
        terminal = self._terminals[-1] if lines[0] == CTRL_C else self._find_terminal()
        terminal.clear()
        for line, following in zip(lines[:number], (*lines[1:], ""), strict=False):
            if line == CTRL_C:
                terminal.interrupt()
            else:
                (terminal.start if following == CTRL_C else terminal.type)(self._fill_in(line))
            self._learn(terminal.recorded.decode())
        return terminal.recorded

    def _find_terminal(self) -> Terminal:
        for terminal in self._terminals:
            if terminal.is_free:
                return terminal
        self._terminals.append(Terminal(self._folder, _make_environment(self._folder)))
        return self._terminals[-1]

    def _fill_in(self, line: str) -> str:
        """Return the line with the values of this play."""
        if line == "scrape-do sandbox":
            return f"{line} --port {self._port}"
        return line.replace(PORT, self._port).replace("redis://...", self._redis_url).replace("RUN_ID", self._run_id)

    def _learn(self, shown: str) -> None:
        """Remember what a reader of the page copies: the URL of Redis, and the id of the last run."""
        if found := re.search(r"export SCRAPE_DO_REDIS_URL=(\S+)", shown):
            self._redis_url = found[1]
        if found := re.findall(r"(?m)(?:^run +|scrape-do watch |^(?=[0-9a-f-]{36}\r))(\S+)\r", shown):
            self._run_id = found[-1]


def _make_environment(folder: Path) -> dict[str, str]:
    """Return the variables of a terminal. Short poll intervals are the only difference from a reader's."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if name == "PYTHONPATH"}
    polls = {"SCRAPE_DO_POLL_INITIAL_INTERVAL": "0.2", "SCRAPE_DO_POLL_MAX_INTERVAL": "1"}
    return {**kept, **polls, "PATH": programs, "HOME": str(folder), "TERM": "xterm", "LANG": "C.UTF-8", "HISTFILE": ""}


def _find_free_port() -> str:
    for port in range(8788, 9999):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return str(port)
    raise RuntimeError("no port of four digits is free on 127.0.0.1; end a program that listens there")


class StableValues:
    """Values that differ in each play -> values of the same length that do not."""

    def __init__(self) -> None:
        """Start without an id."""
        self._ids: dict[bytes, bytes] = {}

    def replace(self, recorded: bytes) -> bytes:
        """Return a recording with stable ids and times."""
        stable = _UUID.sub(lambda found: self._stable_id(found[0]), recorded)
        return _ELAPSED.sub(b"0:00:03", _TIME.sub(b"2026-11-30T09:00:00Z", stable))

    def _stable_id(self, given: bytes) -> bytes:
        name = f"id {len(self._ids)} of the tutorial"
        return self._ids.setdefault(given, str(uuid.uuid5(uuid.NAMESPACE_OID, name)).encode())


def draw(name: str, recorded: bytes, theme: str) -> str:
    """Return the picture of a recording as SVG."""
    lines = _read_screen(recorded)
    width = max(line.cell_len for line in lines)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    for line in lines:
        console.print(line, soft_wrap=True)
    form = SVG.replace("WIDTH", str(round(width * CHARACTER)))
    made = console.export_svg(theme=THEMES[theme], code_format=form, unique_id=f"terminal-{name}", title="")
    return "\n".join(line.rstrip() for line in made.splitlines()) + "\n"


def _read_screen(recorded: bytes) -> list[Text]:
    """Return the lines that a terminal shows after a recording, without a prompt at the end."""
    screen = pyte.Screen(COLUMNS, LINES)
    pyte.ByteStream(screen).feed(recorded)
    lines = [_read_line(screen.buffer[row]) for row in range(LINES)]
    while lines and lines[-1].plain in {"", "$"}:
        lines.pop()
    return lines


def _read_line(row: Mapping[int, pyte.screens.Char]) -> Text:
    cells = groupby((row[column] for column in range(COLUMNS)), _style_of)
    line = Text.assemble(*(("".join(cell.data for cell in same), style) for style, same in cells))
    line.rstrip()
    return line


def _style_of(cell: pyte.screens.Char) -> Style:
    return Style(color=_color_of(cell.fg), bgcolor=_color_of(cell.bg), bold=cell.bold, italic=cell.italics)


def _color_of(name: str) -> str | None:
    """Return the name that rich has for a color of pyte."""
    if name == "default":
        return None
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    return name.replace("brown", "yellow").replace("bright", "bright_")


def file_of(name: str, theme: str) -> Path:
    """Return the file of a picture."""
    return HERE / f"terminal-{name}-{theme}.svg"


def pictures() -> dict[Path, str]:
    """Play the page, and return each picture by its file."""
    made, values = {}, StableValues()
    with tempfile.TemporaryDirectory() as folder, Play(Path(folder)) as play:
        for name, recorded in play.record(list(read_steps(PAGE.read_text()))):
            stable = values.replace(recorded)
            made |= {file_of(name, theme): draw(name, stable, theme) for theme in THEMES}
    return made


if __name__ == "__main__":
    for path, text in pictures().items():
        path.write_text(text)
