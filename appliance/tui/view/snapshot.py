"""What was last heard of the daemon: everything a page is drawn from.

Owns the type. Filled by poll.py, read by the pages. All of it is a copy: a page may be drawn at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from appliance.tui.view.rates import Meter

if TYPE_CHECKING:
    from appliance.report import StatusReport

Reply = Mapping[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """Replies of the control socket. `error`: why there is none, and then the last one is shown."""

    status: StatusReport | None = None
    error: str = ""
    meter: Meter = field(default_factory=Meter)
    reasons: Mapping[str, str] = field(default_factory=dict)
    events: Sequence[Reply] = ()
    backends: Sequence[Reply] = ()
    blocked: Sequence[Reply] = ()
    flows: Sequence[Reply] = ()
    box: Reply = field(default_factory=dict)
    history: Reply = field(default_factory=dict)
    packets: Sequence[Reply] = ()  # of the capture, oldest first
    missed: int = 0
    over: bool = False


@dataclass(frozen=True)
class Asked:
    """What the operator chose to see: how much of time, which connections."""

    hour: bool = False
    watching: bool = False  # nobody has logged in: keys that change something are not there
    client: str = ""  # addresses of clients, as `levee flows --client` takes them
    service: str = ""
    entry: int = 0  # of the history
    capture: int = 0  # its number; 0: none
    text: str = ""  # of that entry, as differences from what is in force
