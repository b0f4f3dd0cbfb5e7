"""Commands that a page prints, read from it: what is run where, what it ends with, and what is not run, and why.

Owns the marks in the pages. Knows neither pytest nor the lab. A block of commands is marked behind its fence:

    ```sh box                   in the box, one after the other; each ends with exit code 0
    ```sh box exit=1            ends with this code
    ```sh box background        goes on until the page ends; the next command waits until levee answers
    ```sh box interrupted       goes on until somebody ends it: interrupted after a moment
    ```sh client                at a client's
    ```sh make                  a target of make: that it is there is all that is asked
    ```sh not-run: REASON       cannot be run here

`<!-- box: COMMAND -->` is a step that readers do by hand, and do not see; with the same words before the colon.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```sh\b ?(.*)$")
HIDDEN = re.compile(r"^<!-- ((?:box|client)[^:]*): (.+) -->$")
TOPOLOGY = re.compile(r"^<!-- lab: (bridge|routed) -->$", re.MULTILINE)
PLACES = ("box", "client", "make")
WAYS = ("background", "interrupted")


class Unmarked(Exception):
    """A block of commands that says neither where it is run nor why not."""


@dataclass(frozen=True)
class Step:
    """One command. `not_run` is the reason, or empty."""

    line: int
    command: str
    place: str = ""
    way: str = ""
    code: int = 0
    not_run: str = ""


def steps(page: Path) -> list[Step]:
    """All commands of a page, in its order. Raises Unmarked."""
    found: list[Step] = []
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        hidden, fence = HIDDEN.match(line), FENCE.match(line)
        if hidden:
            found.append(_marked(page, number, hidden[1], hidden[2]))
        elif fence:
            text = ""
            for at, inner in lines:
                if inner == "```":
                    break
                text += inner.strip()
                if text.endswith("\\"):
                    text = text[:-1]
                elif text and not text.startswith("#"):
                    found.append(_marked(page, at, fence[1], text))
                    text = ""
                else:
                    text = ""
    return found


def topology(page: Path) -> str:
    """What the box of a page is: bridge or routed."""
    match = TOPOLOGY.search(page.read_text(encoding="utf-8"))
    if match is None:
        raise Unmarked(f"{page.name}: does not say `<!-- lab: bridge -->` or routed")
    return match[1]


def _marked(page: Path, line: int, mark: str, command: str) -> Step:
    if mark.startswith("not-run: "):
        return Step(line, command, not_run=mark.removeprefix("not-run: "))
    place, *rest = mark.split() or [""]
    ways = [word for word in rest if word in WAYS]
    codes = [int(word.removeprefix("exit=")) for word in rest if word.startswith("exit=")]
    if place not in PLACES or len(ways) + len(codes) != len(rest):
        raise Unmarked(f"{page.name}:{line}: commands marked {mark!r}: say where they are run, or `not-run: REASON`")
    return Step(line, command, place, "".join(ways), codes[0] if codes else 0)
