"""`levee flows` with real connections: what is open through the box, and what is asked for of it."""

from __future__ import annotations

import json
from typing import Any

from netlab.process import run
from netlab.session import Lab, wait_until


def flows(lab: Lab, *filters: str) -> list[dict[str, Any]]:
    argv = [str(lab.appliance.levee), "flows", "--json", "--socket", str(lab.names.socket), *filters]
    return [json.loads(line) for line in run(argv, namespace=lab.names.box).stdout.splitlines()]


def test_an_open_connection_is_found_by_what_is_asked(lab: Lab, family: int) -> None:
    with lab.listen(family) as listener:
        port = listener.getsockname()[1]
        with lab.connect(family, port) as made, listener.accept()[0]:
            own = str(made.getsockname()[1])
            address = lab.client_address(family)
            assert wait_until(lambda: bool(flows(lab, "--port", str(port), "--state", "established")))
            (flow,) = flows(lab, "--client", address, "--port", str(port), "--service", "lab")
            assert (flow["client"], str(flow["client_port"])) == (address, own)
            assert (flow["server"], flow["server_port"]) == (lab.server_address(family), port)
            assert (flow["state"], flow["service"], flow["vlans"]) == ("established", "lab", [])
            assert flow["age_ms"] >= flow["idle_ms"]
            assert flows(lab, "--port", str(port), "--state", "syn_sent") == []
            assert flows(lab, "--port", str(port), "--service", "direct") == []
            assert flows(lab, "--server", address, "--port", str(port)) == []
        assert wait_until(lambda: [one["state"] for one in flows(lab, "--port", str(port))] == ["closed"])
