"""How roles look on this terminal: true colour where there is some, 16 colours on a console, letters alone on a vt100.

Owns the choice, made once from the environment, and the colours. Nothing else in the interface names a colour.
"""

from __future__ import annotations

import locale
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.style import Style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from appliance.tui.view.line import Role

FULL: dict[Role, str] = {
    "text": "#d7dde4",
    "dim": "#8a97a6",
    "title": "bold #f2f5f8",
    "good": "#6fd08c",
    "warn": "#f0c05a",
    "bad": "bold #ff7a70",
    "key": "bold #7ab8ff",
    "graph": "#5aa9e6",
    "banner-good": "bold #08120b on #6fd08c",
    "banner-warn": "bold #1a1200 on #f0c05a",
    "banner-bad": "bold #ffffff on #c9362c",
}
GROUND = "#12171d"
SIXTEEN: dict[Role, str] = {
    "text": "white",
    "dim": "cyan",
    "title": "bright_white",
    "good": "bright_green",
    "warn": "bright_yellow",
    "bad": "bright_red",
    "key": "bright_cyan",
    "graph": "bright_blue",
    "banner-good": "black on green",
    "banner-warn": "black on yellow",
    "banner-bad": "bright_white on red",
}
LETTERS: dict[Role, str] = {
    "text": "",
    "dim": "",
    "title": "bold",
    "good": "",
    "warn": "",
    "bad": "bold",
    "key": "bold",
    "graph": "",
    "banner-good": "reverse",
    "banner-warn": "reverse",
    "banner-bad": "reverse",
}
# terminfo names of terminals without colours.
MONOCHROME = ("vt100", "vt102", "vt220", "vt320", "dumb", "ansi-m")


@dataclass(frozen=True)
class Look:
    """colours: 0 for none, 16, or true colour. letters: no shapes beside ASCII. slow: a console, redrawn less often."""

    colours: int
    letters: bool
    slow: bool

    def styles(self) -> dict[Role, Style]:
        """What each role looks like."""
        table, ground = {0: (LETTERS, ""), 16: (SIXTEEN, " on black")}.get(self.colours, (FULL, f" on {GROUND}"))
        return {
            role: Style.parse(text if " on " in text or not ground else f"{text}{ground}")
            for role, text in table.items()
        }

    @property
    def ansi(self) -> bool:
        """Whether the toolkit has to stay with the terminal's own colours."""
        return self.colours <= 16


def of_terminal(environment: Mapping[str, str] = os.environ, encoding: str | None = None) -> Look:
    """What TERM promises, no more; an unknown one gets 16 colours."""
    term = environment.get("TERM", "dumb")
    unicode = (encoding or locale.getpreferredencoding(do_setlocale=False)).lower().replace("-", "") == "utf8"
    if term in MONOCHROME or "NO_COLOR" in environment:
        return Look(0, letters=term in MONOCHROME or not unicode, slow=True)
    rich = environment.get("COLORTERM") in ("truecolor", "24bit") or term.endswith(("-256color", "-direct"))
    return Look(1 << 24 if rich else 16, letters=not unicode, slow=not rich)
