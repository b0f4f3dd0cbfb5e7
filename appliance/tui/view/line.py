"""A line of the screen: pieces of text, each with a role.

Owns the types. Made by the other files of this folder; drawn by lines.py with colours, printed by menu.py without any.
A role says what a text is, never how it looks.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Literal

Role = Literal[
    "text", "dim", "title", "good", "warn", "bad", "key", "graph", "banner-good", "banner-warn", "banner-bad"
]
Span = tuple[str, Role]


@dataclass(frozen=True, slots=True)
class Line:
    """Pieces of text from left to right. `key`: what is opened where somebody chooses it; None: nothing."""

    spans: tuple[Span, ...] = ()
    key: str | None = None

    @property
    def text(self) -> str:
        """Without roles."""
        return "".join(text for text, _ in self.spans).rstrip()


def line(text: str, role: Role = "text", key: str | None = None) -> Line:
    """A line with one role."""
    return Line(((text, role),), key)


def titled(title: str, text: str, role: Role = "text") -> Line:
    """A label of 12 columns, and what is to be said."""
    return Line(((f"{title:<12}", "dim"), (text, role)))


def wrapped(text: str, width: int, role: Role = "text", most: int = 3) -> list[Line]:
    """As many lines as it takes, one column from the left; `most`: what does not fit into so many is cut."""
    found = textwrap.wrap(text, width - 2, max_lines=most, placeholder=" ...")
    return [line(f" {one}", role) for one in found]


def cut(text: str, width: int) -> str:
    """At most `width` columns; `~` where something is missing."""
    return text if len(text) <= width else f"{text[: max(width - 1, 0)]}~"


def side_by_side(left: list[Line], right: list[Line], width: int) -> list[Line]:
    """Two columns, the left one `width` wide."""
    lines = []
    for index in range(max(len(left), len(right))):
        spans = left[index].spans if index < len(left) else ()
        gap = width - sum(len(text) for text, _ in spans)
        more = right[index].spans if index < len(right) else ()
        lines.append(Line((*spans, (" " * max(gap, 1), "text"), *more)))
    return lines


# Shapes that a terminal without them shows as letters.
ASCII = {"\u00b7": ".", "\u2588": "#", "\u2584": "_", "\u2502": "|", "\u2500": "-", "\u2514": "+", "\u2192": ">"}


def plain(text: str) -> str:
    """For a terminal that has letters only."""
    return "".join(ASCII.get(character, character if character.isascii() else "?") for character in text)
