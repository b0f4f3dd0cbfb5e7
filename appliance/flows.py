"""Connections as an operator asks for them: the question, and the reply of org.levee.Flows.

Owns both shapes (org.levee.varlink describes them to clients). Called by daemon.py with an engine, and by the command
line to read the same words. A page is a part of the table: the client asks again with the cursor, so that no question
makes the daemon's loop wait for a table of millions.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Protocol, TypedDict

from appliance.addresses import MAX_PORT, parse_addresses, parse_ports
from appliance.errors import OperatorError, WrongValue
from cext.dataplane import FLOW_STATES, FlowQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from appliance.addresses import AddressRange
    from appliance.varlink import Call
    from cext.dataplane import Flow

FILTERS = ("client", "server", "port", "service", "state")
PAGE_FLOWS = 1000
MAX_CURSOR = (1 << 32) - 1
IPV4_MAPPED = 0xFFFF << 32  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2
PROXIED = ("syn_sent", "established", "closed")  # closed ones linger for packets that come late
STATES = tuple(state for state in FLOW_STATES if state != "free")


class FlowReport(TypedDict):
    """One connection. vlans: identifiers, outermost first."""

    client: str
    client_port: int
    server: str
    server_port: int
    vlans: list[int]
    state: str
    service: str
    age_ms: int
    idle_ms: int


class HasFlows(Protocol):
    """What is needed of an engine."""

    def flow_page(self, query: FlowQuery, cursor: int, limit: int) -> tuple[list[Flow], int | None]:
        """Connections from one part of the table, and where the next one begins."""


def _integers(span: AddressRange) -> tuple[int, int]:
    offset = IPV4_MAPPED if span.family == 4 else 0
    return span.first + offset, span.last + offset


def _range(text: str) -> tuple[int, int]:
    return _integers(parse_addresses(text))


def _ports(text: str) -> tuple[int, int]:
    ports = parse_ports(text)
    return ports.first, ports.last


def query(asked: Mapping[str, str]) -> FlowQuery:
    """The question in words: client, server (address, prefix or range), port, service, state. Raises WrongValue."""
    state = asked.get("state")
    if state is not None and state not in STATES:
        raise WrongValue(f"{state} is not a state of a connection", f"one of {', '.join(STATES)}")
    return FlowQuery(
        client=_range(asked["client"]) if "client" in asked else None,
        server=_range(asked["server"]) if "server" in asked else None,
        ports=_ports(asked["port"]) if "port" in asked else (0, MAX_PORT),
        service=asked.get("service"),
        states=(state,) if state else (),
    )


def address_text(packed: bytes) -> str:
    """16 bytes, IPv4 mapped, as one writes the address."""
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)


def report(flow: Flow) -> FlowReport:
    """One connection as a client sees it."""
    return {
        "client": address_text(flow["client"]),
        "client_port": flow["client_port"],
        "server": address_text(flow["server"]),
        "server_port": flow["server_port"],
        "vlans": [vid for vid in flow["vids"] if vid],
        "state": flow["state"],
        "service": flow["service"].strip(),
        "age_ms": flow["age_ms"],
        "idle_ms": flow["idle_ms"],
    }


def proxied(engine: HasFlows, span: AddressRange) -> bool:
    """Whether a client or server of these addresses has a connection that is translated. Raises OperatorError."""
    addresses = _integers(span)
    for one in (FlowQuery(client=addresses, states=PROXIED), FlowQuery(server=addresses, states=PROXIED)):
        cursor: int | None = 0
        while cursor is not None:
            found, cursor = engine.flow_page(one, cursor, 1)
            if found:
                return True
    return False


def page(engine: HasFlows, call: Call) -> dict[str, object]:
    """The reply of org.levee.Flows. Raises CallError, and OperatorError for words that say nothing."""
    asked = {name: text for name in FILTERS if (text := call.text(name, ""))}
    cursor = call.whole("cursor", 0, low=0, high=MAX_CURSOR)
    try:
        wanted = query(asked)
    except WrongValue as error:
        raise OperatorError(error.wrong, f"{error.right} would be right") from error
    found, following = engine.flow_page(wanted, cursor, PAGE_FLOWS)
    reply: dict[str, object] = {"flows": [report(flow) for flow in found]}
    return reply if following is None else reply | {"cursor": following}
