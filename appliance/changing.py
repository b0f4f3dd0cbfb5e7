"""What `levee apply` and `levee rollback` have in common: who asks, and what came of it.

Owns the sentences. Called by commands/apply.py and commands/rollback.py. Talks to the daemon over the control socket.
"""

import os
import time
from pathlib import Path
from typing import Any

from appliance import client
from appliance.errors import OperatorError

ANEW_LIMIT_S = 30.0
LOOK_EVERY_S = 0.1


def for_user() -> str:
    """Who became root to ask, where sudo says so: the history would only know root."""
    return os.environ.get("SUDO_USER", "") if os.geteuid() == 0 else ""


def told(path: Path, reply: dict[str, Any]) -> list[str]:
    """What the reply of Apply or Rollback says; waits for the parts where they are made anew. Raises OperatorError."""
    number, restarts = reply["number"], reply["restarts"]
    lines = []
    if reply["set_aside"] is not None:
        lines.append(f"the file was edited by hand: kept as {reply['set_aside']} in the history")
    if restarts:
        _wait_for(path, number)
        lines.append(f"the parts were started anew, for {', '.join(restarts)}")
    return [*lines, f"configuration {number} is in force"]


def _wait_for(path: Path, number: int) -> None:
    """Until the daemon answers with other parts; it may have gone back when they could not be started."""
    limit = time.monotonic() + ANEW_LIMIT_S
    while time.monotonic() < limit:
        time.sleep(LOOK_EVERY_S)
        try:
            status: dict[str, Any] = client.call(path, "org.levee.Status")
        except OperatorError:
            continue  # between the old parts and the new ones nobody listens
        if status["configuration"]["restarting"]:
            continue
        if status["configuration"]["number"] != number:
            raise OperatorError(
                "the box could not start with it, and has gone back", "why is in the log: journalctl -u levee"
            )
        return
    raise OperatorError(f"the box is not back after {ANEW_LIMIT_S:.0f} s", "see: journalctl -u levee")
