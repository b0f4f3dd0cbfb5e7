"""The calls of a first set-up: the machine's ports, its LEDs, and the servers behind it as proposed services.

Owns the reading of their parameters and the shape of their replies (org.levee.varlink describes it). Put into the table
of daemon.py. They change nothing of the box: what comes of them is applied like any other configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from appliance import backends, ports, proposals
from appliance.errors import OperatorError, WrongValue
from appliance.roles import Role
from appliance.varlink import CallError, Method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from appliance.running import Running
    from appliance.varlink import Call, Parameters

# Only the image has it (image/root).
IMAGE_MARK = Path("/usr/lib/levee/bin/levee-box")


class SetupCalls:
    """The methods around what runs."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def methods(self) -> Mapping[str, Method]:
        """Their part of the table."""
        return {
            "Machine": Method(self._machine, slow=True),
            "Blink": Method(self._blink, Role.CHANGER, slow=True),
            "Proposals": Method(self._proposals),
            "Propose": Method(self._propose),
        }

    def _machine(self, _call: Call) -> Parameters:
        config = self._running.config
        return {"appliance": IMAGE_MARK.exists(), "ports": ports.report(config.outside, config.inside)}

    def _blink(self, call: Call) -> Parameters:
        ports.blink(call.text("port"), call.whole("seconds", 5, low=1, high=ports.MAX_BLINK_S))
        return {}

    def _proposals(self, _call: Call) -> Parameters:
        running = self._running
        heard = backends.report(running.engine.backends(), running.config)
        return {"proposals": proposals.proposals(heard, running.config)}

    def _propose(self, call: Call) -> Parameters:
        given = call.parameters.get("wanted")
        if not isinstance(given, list) or not 0 < len(given) <= proposals.MOST:
            raise CallError("org.varlink.service.InvalidParameter", {"parameter": "wanted"})
        try:
            wanted = [_wanted(one) for one in given]
        except WrongValue as error:
            raise OperatorError(error.wrong, f"{error.right} would be right") from error
        added, narrowed = proposals.taken_up(wanted, self._running.config)
        return {"added": added, "narrowed": narrowed}


def _wanted(given: object) -> proposals.Wanted:
    found = given if isinstance(given, dict) else {}
    name, addresses, served = found.get("name"), _texts(found.get("addresses")), _texts(found.get("ports"))
    if not isinstance(name, str) or not addresses or not served:
        raise CallError("org.varlink.service.InvalidParameter", {"parameter": "wanted"})
    return proposals.wanted(name, addresses, served)


def _texts(given: object) -> list[str]:
    """A list of texts; an empty one for anything else."""
    return given if isinstance(given, list) and all(isinstance(one, str) for one in given) else []
