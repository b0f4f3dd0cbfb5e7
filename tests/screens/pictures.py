"""Pictures of the main screens as SVG: `make pictures` writes them, tests/unit/test_screens.py compares them.

80x25 in 16 colours is the kernel's console, 140x45 a terminal with true colour. The SVG names no font of a server: it
is shown with whatever fixed-width font there is.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from appliance.tui.app import LeveeApp
from appliance.tui.look import Look
from appliance.tui.shell import Shell, Watching
from screens.recorded import Recorded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textual.pilot import Pilot

HERE = Path(__file__).resolve().parent
CONSOLE = (80, 25)
LARGE = (140, 45)
LOOKS = {CONSOLE: Look(16, letters=False, slow=True), LARGE: Look(1 << 24, letters=False, slow=False)}
# The palette of the kernel's console, drivers/tty/vt/vt.c: default_red, default_grn, default_blu.
_DIM = [(0, 0, 0), (170, 0, 0), (0, 170, 0), (170, 85, 0), (0, 0, 170), (170, 0, 170), (0, 170, 170), (170, 170, 170)]
_BRIGHT = [(85, 85, 85), (255, 85, 85), (85, 255, 85), (255, 255, 85), (85, 85, 255), (255, 85, 255), (85, 255, 255)]
VGA = TerminalTheme((0, 0, 0), (170, 170, 170), _DIM, [*_BRIGHT, (255, 255, 255)])
POLL_S = 0.01
PATIENCE_S = 60.0
STILL = 8  # looks in a row
FONT_FACE = re.compile(r"\s*@font-face \{.*?\}\n", re.DOTALL)


@dataclass(frozen=True)
class Picture:
    """Keys that lead to a screen; `box`: what the recorded box is told."""

    name: str
    keys: tuple[str, ...] = ()
    box: Mapping[str, object] = field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = (CONSOLE,)
    kind: type[Shell] = LeveeApp


BOTH = (CONSOLE, LARGE)
CALM: dict[str, object] = {"state": "PROTECTING"}
REMOVED = "the rules were removed by someone else, and loaded again"
PICTURES = (
    Picture("overview", sizes=BOTH),
    Picture("services", ("2",)),
    Picture("service", ("2", "enter"), sizes=BOTH),
    Picture("attacks", ("3",)),
    Picture("connections", ("4",), sizes=BOTH),
    Picture("blocked", ("5",)),
    Picture("servers", ("6",)),
    Picture("configuration", ("7",), CALM | {"pending": True}),
    Picture("differences", ("7", "down", "enter"), CALM),
    Picture("editor", ("7", "e"), CALM, sizes=BOTH),
    Picture("form", ("2", "n"), CALM),
    Picture("limits", ("2", "l"), CALM),
    Picture("ports", ("g",), CALM, sizes=BOTH),
    Picture("proposals", ("g", "n", "down", "enter"), CALM),
    Picture("packets", ("2", "enter", "t", "enter", "enter", "enter", "enter"), CALM),
    Picture("bypass-question", ("b",)),
    Picture("bypass", box={"state": "BYPASS"}),
    Picture("degraded", box={"state": "DEGRADED", "problems": (REMOVED,)}),
    Picture("help", ("question_mark",)),
    Picture("before-login", ("2", "tab", "b", "y"), {"pending": True}, kind=Watching),
)


def rows(app: Shell) -> list[str]:
    """The text on the screen."""
    return [strip.text for strip in app.screen._compositor.render_strips()]


async def _rest(pilot: Pilot[None], app: Shell, box: Recorded) -> None:
    """Until the minute is over, and the screen has stood still for a while."""
    limit_s = time.monotonic() + PATIENCE_S
    same, last = 0, rows(app)
    while same < STILL or not box.over:
        if time.monotonic() > limit_s:
            raise TimeoutError("the interface does not come to rest")
        await pilot.pause(2 * POLL_S)
        now = rows(app)
        same, last = (same + 1 if now == last else 0), now


def svg(app: Shell, size: tuple[int, int], title: str) -> str:
    """What is on the screen now, as a drawing that stands alone."""
    console = Console(
        width=size[0], height=size[1], file=io.StringIO(), force_terminal=True, color_system="truecolor", record=True,
        legacy_windows=False, safe_box=False,
    )  # fmt: skip
    console.print(app.screen._compositor.render_update(full=True, screen_stack=app._background_screens))
    drawn = console.export_svg(title=title, theme=VGA, unique_id=title.replace(" ", "-"))
    return FONT_FACE.sub("\n", drawn).replace("Fira Code", "DejaVu Sans Mono")


def draw(picture: Picture, size: tuple[int, int]) -> tuple[str, list[str]]:
    """The drawing, and its text row by row."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    return asyncio.run(_draw(picture, size))


async def _draw(picture: Picture, size: tuple[int, int]) -> tuple[str, list[str]]:
    box = Recorded(**picture.box)  # type: ignore[arg-type]
    app = picture.kind(box, LOOKS[size], POLL_S)
    async with app.run_test(size=size) as pilot:
        await _rest(pilot, app, box)
        for key in picture.keys:
            await pilot.press(key)
            await _rest(pilot, app, box)
        return svg(app, size, f"levee {picture.name}"), rows(app)


def path(picture: Picture, size: tuple[int, int]) -> Path:
    return HERE / f"{picture.name}-{size[0]}x{size[1]}.svg"


def main() -> int:
    """Writes all of them."""
    for picture in PICTURES:
        for size in picture.sizes:
            path(picture, size).write_text(draw(picture, size)[0])
            print(path(picture, size).relative_to(HERE.parents[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
