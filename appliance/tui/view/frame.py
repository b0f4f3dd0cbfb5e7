"""What is around every page: the banner, the names of the pages, the keys.

Owns their order and their words. All of them fit 80 columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from appliance.tui.view import words
from appliance.tui.view.line import Line, cut

if TYPE_CHECKING:
    from appliance.report import StatusReport
    from appliance.tui.view.line import Span
    from appliance.tui.view.snapshot import Snapshot


class Key(NamedTuple):
    """A key, what it does on the screen's last line, and the command that does the same."""

    key: str
    what: str
    command: str


# Number, identifier, name.
PAGES = (
    ("1", "overview", "Overview"),
    ("2", "services", "Services"),
    ("3", "events", "Attacks"),
    ("4", "flows", "Connections"),
    ("5", "blocked", "Blocked"),
    ("6", "backends", "Servers"),
    ("7", "configuration", "Config"),
)

EVERYWHERE = (
    Key("b", "Bypass", "levee bypass on|off"),
    Key("?", "Help", "levee --help"),
    Key("q", "Leave", ""),
)
KEYS: dict[str, tuple[Key, ...]] = {
    "overview": (
        Key("h", "Minute/hour", "levee status --watch"),
        Key("Enter", "Service", "levee explain --service NAME"),
        Key("g", "Set up", "levee ports; levee backends; levee apply"),
    ),
    "services": (
        Key("Enter", "Open", "levee explain --service NAME"),
        Key("n", "New", "levee apply"),
        Key("m", "Change", "levee apply"),
        Key("p", "Protect", "levee apply"),
        Key("l", "Limits", "levee apply"),
    ),
    "service": (
        Key("p", "Protect", "levee apply"),
        Key("l", "Limits", "levee apply"),
        Key("f", "Flows", "levee flows --service NAME"),
        Key("t", "Capture", "levee capture --service NAME"),
    ),
    "events": (Key("Enter", "Service", "levee events"),),
    "flows": (
        Key("f", "Filter", "levee flows --client ADDRESSES"),
        Key("Enter", "Block its client", "levee block add ADDRESS"),
        Key("t", "Capture", "levee capture --address ADDRESS"),
    ),
    "blocked": (Key("a", "Add", "levee block add PREFIX"), Key("x", "Take out", "levee block del PREFIX")),
    "backends": (Key("Enter", "Service", "levee backends"),),
    "configuration": (
        Key("e", "Edit", "levee apply FILE"),
        Key("d", "File", "levee diff; levee apply"),
        Key("r", "Back", "levee rollback N"),
        Key("Enter", "Diff", "levee diff N"),
        Key("w", "Backup", "levee backup FILE"),
        Key("o", "Box", "levee box show"),
    ),
    "box": (Key("Enter", "Do it", "levee box ACTION"),),
    "entry": (Key("r", "Return to it", "levee rollback N"),),
    "capture": (Key("t", "Another one", "levee capture"),),
    "help": (),
}
# Of the box itself; shown on its page, which has a line for each.
BOX = (
    Key("s", "Set name, address, time", "levee box apply FILE"),
    Key("y", "SSH keys", "levee box keys FILE"),
    Key("i", "Restore from a backup", "levee box restore FILE"),
    Key("v", "Update from a file", "levee update FILE"),
    Key("z", "Restart", "levee box restart"),
    Key("p", "Power off", "levee box shutdown"),
    Key("0", "Factory reset", "levee box restart, then the boot menu"),
)
# Before login.
WATCHING_TITLE = Line(((" Overview", "title"), ("   who logs in can do more", "dim")))
PENDING = (Key("c", "Keep it", "levee confirm"), Key("u", "Undo it", "levee rollback"))


def _percent(used: int, capacity: int) -> str:
    return f"{100 * used // capacity if capacity else 0}%"


def _links(status: StatusReport) -> tuple[str, bool]:
    parts = [f"{side} {link['name']} {'up' if link['up'] else 'DOWN'}" for side, link in status["links"].items()]
    return "  ".join(parts), all(link["up"] for link in status["links"].values())


def banner(snapshot: Snapshot, width: int, *, watching: bool = False) -> list[Line]:
    """Two lines: state, links, engine; then tables, version, or the change on trial. watching: without its keys."""
    status = snapshot.status
    if status is None:
        text = f" NO ANSWER  {snapshot.error or 'asking ...'}"
        return [Line(((f"{cut(text, width):<{width}}", "banner-bad"),)), Line()]
    word, role = words.state(status)
    if snapshot.error:
        word, role = "NO ANSWER", "banner-bad"
    links, up = _links(status)
    engine = f"{status['mode']}, {status['engine']}"
    room = width - len(word) - len(links) - 6
    first = Line(
        (
            (f" {word} ", role),
            ("  ", "text"),
            (links, "text" if up else "bad"),
            (f"{cut(engine, room):>{room}} ", "dim"),
        )
    )
    return [first, _second(snapshot, status, width, watching=watching)]


def _second(snapshot: Snapshot, status: StatusReport, width: int, *, watching: bool) -> Line:
    if snapshot.error:
        return Line(((cut(f" {snapshot.error}", width), "bad"),))
    pending = status["configuration"]["pending"]
    if pending:
        text = f" CHANGE {pending['number']} ON TRIAL: back to {pending['back_to']} in {pending['left_s']} s"
        text += "" if watching else "   c: keep it   u: undo it"
        return Line(((f"{cut(text, width):<{width}}", "banner-warn"),))
    hold = status["hold"]
    text = (
        f" tables: connections {_percent(**status['flows'])}, half-open {_percent(**status['half_open'])}, "
        f"held {_percent(hold['bytes'], hold['capacity'])}"
    )
    version = f"levee {status['version']} "
    return Line(((f"{text:<{width - len(version)}}", "dim"), (version, "dim")))


def watching_keys() -> Line:
    """The last line before login."""
    return key_line(("h", "Minute/hour"), ("Enter", "Log in"))


def tabs(page: str, width: int) -> Line:
    """The names of the pages, the open one marked."""
    spans: list[Span] = []
    for number, name, title in PAGES:
        spans.append((f" {number}", "key"))
        spans.append((f" {title}", "title" if name == page else "dim"))
    if width >= 100:
        spans.append(("   Tab: the next", "dim"))
    return Line(tuple(spans))


def key_line(*pairs: tuple[str, str]) -> Line:
    """Keys and what they do, on a line of their own."""
    spans: list[Span] = []
    for key, what in pairs:
        spans += [(f" {key}", "key"), (f" {what} ", "text")]
    return Line(tuple(spans))


def keys(page: str, snapshot: Snapshot, width: int) -> Line:
    """The last line."""
    pending = snapshot.status and snapshot.status["configuration"]["pending"]
    back = (Key("Esc", "Back", ""),) if page in ("service", "entry", "capture", "help", "box") else ()
    shown = (*back, *KEYS[page], *EVERYWHERE, *(PENDING if pending else ()))
    spans: list[Span] = []
    used = 0
    for one in shown:
        used += len(one.key) + len(one.what) + 3
        if used > width:
            break
        spans += [(f" {one.key}", "key"), (f" {one.what} ", "text")]
    return Line(tuple(spans))
