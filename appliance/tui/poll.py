"""What the interface asks again and again: the status, and what the open page needs beside it.

Owns the choice. Called in a thread by app.py, in line by menu.py. Never raises: what went wrong is in the snapshot.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from appliance.errors import OperatorError

if TYPE_CHECKING:
    from appliance.tui.box import Box
    from appliance.tui.view.snapshot import Asked, Snapshot

MOST_FLOWS = 200
MOST_PACKETS = 500


def ask(box: Box, page: str, asked: Asked, last: Snapshot) -> Snapshot:
    """The next snapshot; without an answer the last one, and why."""
    try:
        status = box.status()
        found: dict[str, Any] = {}
        if not last.reasons:
            found["reasons"] = last.meter.reasons = box.reasons()
        if page in ("events", "service"):
            found["events"] = box.events()
        if page in ("backends", "service"):
            found["backends"] = box.backends()
        if page == "blocked":
            found["blocked"] = box.blocked()
        if page == "flows":
            found["flows"] = box.flows(MOST_FLOWS, asked.client, asked.service)
        if page in ("configuration", "entry"):
            found["history"] = box.history()
        if page == "box":
            found["box"] = box.itself()
        if page == "capture" and not last.over:
            found |= take(box, asked.capture, last)
    except OperatorError as error:
        return replace(last, error=error.message)
    last.meter.take(status, box.clock_s())
    return replace(last, status=status, error="", **found)


def take(box: Box, number: int, last: Snapshot) -> dict[str, Any]:
    """What was captured since the last time, behind what is known already."""
    try:
        reply = box.capture_take(number)
    except OperatorError:  # the daemon answers: it was started anew, or another capture was begun
        return {"over": True}
    packets = (*last.packets, *reply["packets"])[:MOST_PACKETS]
    over = reply["over"] or len(packets) == MOST_PACKETS
    if over and not reply["over"]:
        box.capture_end(number)
    return {"packets": packets, "missed": reply["missed"], "over": over}
