"""What is not as it should be while the daemon runs: the list behind DEGRADED.

Owns the list. Called by daemon.py about once a second. Must not know how a problem is put right, nor how it is shown.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from appliance.log import fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cext.nfqueue import QueueStats

LOG = logging.getLogger(__name__)

SHOWN_S = 30.0  # how long a passing problem stays on the list


class Watch:
    """Standing problems stay until they are lifted; passing ones for SHOWN_S after they were last seen."""

    def __init__(self) -> None:
        self._standing: dict[str, str] = {}
        self._passing: dict[str, float] = {}
        self._lost: dict[int, int] = {}

    def problems(self, now_s: float) -> list[str]:
        """What an operator should look at, now."""
        self._passing = {text: seen_s for text, seen_s in self._passing.items() if now_s - seen_s < SHOWN_S}
        return [*self._standing.values(), *self._passing]

    def stand(self, kind: str, text: str | None) -> None:
        """Sets or lifts (None) the standing problem of this kind; each change is logged once."""
        before = self._standing.get(kind)
        if text == before:
            return
        if text is None:
            del self._standing[kind]
            LOG.info("no longer: %s", before)
        else:
            self._standing[kind] = text
            LOG.warning("%s", text)

    def passing(self, text: str, now_s: float) -> None:
        """Notes a problem that was seen now; logged when it is new to the list."""
        if text not in self._passing:
            LOG.warning("%s", text)
        self._passing[text] = now_s

    def queues(self, stats: Sequence[QueueStats], now_s: float) -> None:
        """A queue that loses packets: more come in than the workers can take."""
        for queue in stats:
            lost = (queue["dropped_queue_full"] or 0) + (queue["dropped_user"] or 0)
            before = self._lost.get(queue["num"])
            self._lost[queue["num"]] = lost
            if before is not None and lost > before:
                text = f"queue {queue['num']} for {queue['carries']} overflows: more comes in than can be looked at"
                self.passing(text, now_s)
                LOG.debug("packets lost", extra=fields(queue=queue["num"], lost=lost - before))
