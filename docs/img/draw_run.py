"""Draw the way of a run, for light and dark pages: `python docs/img/draw_run.py` writes both pictures."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
WIDTH, HEIGHT = 960, 400
#: Top and bottom of each lane.
APP, STORE, WORKER, API = (20, 84), (108, 172), (196, 280), (304, 380)
FONTS = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"
#: The text of a lane stands left of this.
LEFT = 112


class Theme(NamedTuple):
    """The colors of one picture."""

    text: str
    quiet: str
    lane: str
    line: str
    app: str
    store: str
    step: str
    api: str


THEMES = {
    "light": Theme("#1f2328", "#59636e", "#f3f5f8", "#59636e", "#d8e8ff", "#ffe1dc", "#dcf3e0", "#fdeec2"),
    "dark": Theme("#e6edf3", "#9aa5b1", "#161b22", "#9aa5b1", "#163a63", "#5c2620", "#1c4a2b", "#54430f"),
}


def draw(theme: Theme) -> str:
    """Return the picture as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="{FONTS}">',
        "<title>The way of a run</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        f'<path d="M0 0L8 4L0 8z" fill="{theme.line}"/></marker></defs>',
    ]
    for lane, title, more in (
        (APP, "Your app", "any process"),
        (STORE, "Redis", "the store"),
        (WORKER, "Workers", "Celery steps"),
        (API, "Scrape.do", "Async API"),
    ):
        middle = sum(lane) // 2
        parts += [
            f'<rect x="8" y="{lane[0]}" width="{WIDTH - 16}" height="{lane[1] - lane[0]}" rx="8" fill="{theme.lane}"/>',
            _text(20, middle - 3, title, theme.text, weight=600, anchor="start"),
            _text(20, middle + 14, more, theme.quiet, anchor="start", size=12),
        ]
    parts += [
        _box(LEFT + 10, APP, 120, "enqueue(urls)", "returns at once", theme.app, theme),
        _box(822, APP, 120, "handle.result()", "or an exception", theme.app, theme),
        *_stored(theme),
        _box(196, WORKER, 140, "submit", "buys the job", theme.step, theme),
        _box(490, WORKER, 100, "poll", "again and again", theme.step, theme),
        _box(620, WORKER, 108, "fetch", "all tasks at once", theme.step, theme),
        _box(758, WORKER, 130, "aggregate", "decides the outcome", theme.step, theme),
        _text(413, 234, "the run waits:", theme.quiet, size=12),
        _text(413, 250, "no worker, no message", theme.quiet, size=12),
        _box(196, API, 540, "the job", "one task for each URL", theme.api, theme),
    ]
    down, up = "M{x} {top}V{bottom}", "M{x} {bottom}V{top}"
    parts += [
        *_arrow(down, 150, APP[1] - 10, STORE[0] + 8, "", theme),
        *_arrow(up, 220, STORE[1] - 8, WORKER[0] + 8, "1", theme),
        *_arrow(up, 322, STORE[1] - 8, WORKER[0] + 8, "3", theme),
        *_arrow(down, 262, WORKER[1] - 8, API[0] + 8, "2 POST", theme),
        *_arrow(down, 530, WORKER[1] - 8, API[0] + 8, "GET job", theme),
        *_arrow(up, 674, WORKER[1] - 8, API[0] + 8, "GET task", theme),
        *_arrow(up, 674, STORE[1] - 8, WORKER[0] + 8, "", theme),
        *_arrow(up, 830, STORE[1] - 8, WORKER[0] + 8, "", theme),
        *_arrow(up, 880, APP[1] - 10, STORE[0] + 8, "", theme),
    ]
    return "\n".join([*parts, "</svg>", ""])


def _stored(theme: Theme) -> list[str]:
    """Return the boxes for all that the store keeps, in the order of a run."""
    boxes = ((122, 66, "run"), (196, 100, "intent"), (304, 130, "job id"), (604, 140, "pages"), (780, 162, "outcome"))
    return [_box(left, STORE, width, name, "", theme.store, theme) for left, width, name in boxes]


def _box(left: int, lane: tuple[int, int], width: int, title: str, more: str, fill: str, theme: Theme) -> str:  # noqa: PLR0913, PLR0917
    top, height = lane[0] + 10, lane[1] - lane[0] - 20
    middle, center = top + height // 2, left + width // 2
    box = f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="6" fill="{fill}"/>'
    if not more:
        return box + _text(center, middle + 5, title, theme.text, weight=600)
    title_text = _text(center, middle - 2, title, theme.text, weight=600)
    return box + title_text + _text(center, middle + 14, more, theme.text, size=11)


def _text(  # noqa: PLR0913 (a text is all of these)
    left: int, top: int, text: str, fill: str, *, weight: int = 400, anchor: str = "middle", size: int = 13
) -> str:
    style = f'fill="{fill}" font-weight="{weight}" text-anchor="{anchor}" font-size="{size}"'
    return f'<text x="{left}" y="{top}" {style}>{text}</text>'


def _arrow(way: str, x: int, top: int, bottom: int, label: str, theme: Theme) -> list[str]:  # noqa: PLR0913, PLR0917
    path = way.format(x=x, top=top, bottom=bottom)
    arrow = f'<path d="{path}" stroke="{theme.line}" stroke-width="1.5" fill="none" marker-end="url(#head)"/>'
    if not label:
        return [arrow]
    return [arrow, _text(x + 8, (top + bottom) // 2 + 4, label, theme.quiet, anchor="start", size=11)]


def pictures() -> dict[Path, str]:
    """Return each picture by its file."""
    return {HERE / f"run-{name}.svg": draw(theme) for name, theme in THEMES.items()}


if __name__ == "__main__":
    for path, text in pictures().items():
        path.write_text(text)
