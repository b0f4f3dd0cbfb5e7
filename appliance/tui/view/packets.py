"""A capture as lines: each packet, and below it what the box did with it, and why.

Owns the words. What the bytes say is packettext.py's, which never raises, whatever they are.
"""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

from appliance.packettext import described
from appliance.tui.view.line import Line, cut, line
from appliance.tui.view.words import is_loss

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from appliance.tui.view.line import Role
    from appliance.tui.view.snapshot import Reply, Snapshot

FATES: dict[str, tuple[str, Role]] = {
    "dropped": ("dropped", "bad"),
    "passed": ("passed as it came", "text"),
    "translated": ("translated", "good"),
    "sent": ("sent by the box", "good"),
}
OTHER: tuple[str, Role] = ("seen", "text")


def packet(one: Reply, reasons: Mapping[str, str], width: int) -> list[Line]:
    """Two lines for one packet."""
    seconds, rest_ns = divmod(one["time_ns"], 10**9)
    at = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest_ns // 10**6:03}"
    arrow = "to" if one["fate"] == "sent" else "from"
    head = f" {at} {arrow:>4} {one['side']:<8}"
    word, role = FATES.get(one["fate"], OTHER)
    if one["fate"] == "dropped" and not is_loss(one["reason"], reasons):
        word, role = "finished here", "text"
    why = f": {reasons.get(one['reason'], one['reason'])}" if one["reason"] else ""
    service = f"; service {one['service']}" if one["service"] else ""
    what = described(base64.b64decode(one["data"]))
    return [
        Line(((head, "dim"), (cut(what, width - len(head)), "text"))),
        line(cut(f"      {word}{service}{why}", width), role),
    ]


def page(snapshot: Snapshot, width: int) -> list[Line]:
    """The latest packets last, as they came, below what the capture came to."""
    seen = len(snapshot.packets)
    state = "The capture is over" if snapshot.over else "Capturing"
    missed = f", {snapshot.missed} more found no room" if snapshot.missed else ""
    lines = [line(cut(f" {state}: {seen} packets{missed}. As a file: levee capture -w FILE", width), "title")]
    return lines + rows(snapshot.packets, snapshot.reasons, width)


def rows(packets: Sequence[Reply], reasons: Mapping[str, str], width: int) -> list[Line]:
    """All of them."""
    return [row for one in packets for row in packet(one, reasons, width)]
