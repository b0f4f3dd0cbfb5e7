"""`levee events`: the attacks there were."""

import json
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

from appliance import client
from appliance.attack import WORDS
from appliance.events import EventReport
from appliance.screen import duration


def execute(arguments: Namespace) -> int:
    """Prints one attack a line, or everything as JSON."""
    reply = client.call(client.socket_path(arguments.socket), "org.levee.Events")
    if arguments.json:
        print(json.dumps(reply["events"], indent=2))
    else:
        print(render(cast(Sequence[EventReport], reply["events"])), end="")
    return 0


def render(events: Sequence[EventReport]) -> str:
    """Oldest first, times in UTC."""
    if not events:
        return "no attack has been seen\n"
    words: dict[str, str] = {str(value): text for value, text in WORDS.items()}
    lines = []
    for one in events:
        began = datetime.fromtimestamp(one["started_s"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        ended = "end not seen" if one["cut"] else "goes on" if one["ended_s"] is None else duration(one["lasted_s"])
        lines.append(
            f"{began}  {ended:<12}  {one['service']}: {one['measured']} {words.get(one['value'], one['value'])}, "
            f"limit {one['limit']}, at most {one['peak_per_s']} SYNs a second"
        )
    return "".join(f"{line}\n" for line in lines)
