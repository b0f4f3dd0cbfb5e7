"""Which connections a question finds: in the data plane's table, page by page, and in words."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest
from box.box import Box, Talk, mapped, service
from box.wire import V4, V6

from appliance import flows
from appliance.commands import flows as command
from appliance.errors import WrongValue
from cext.dataplane import FlowQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cext.dataplane import Flow

OPEN = 40


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """40 open connections over IPv4, one over IPv6, one handshake."""
    with Box(service(ports=((1, 65535),)), flows=1 << 17) as one:
        for number in range(OPEN):
            Talk(one, V4.other(number)).open()
        Talk(one, V6).open()
        waiting = Talk(one, V4.other(OPEN))
        waiting.syn()
        waiting.ack()
        yield one


def found(box: Box, query: FlowQuery) -> list[Flow]:
    return box.plane.flows(1 << 20, query)


def ends(reports: Iterable[flows.FlowReport]) -> list[tuple[str, int]]:
    return [(one["client"], one["client_port"]) for one in reports]


def test_nothing_asked_is_everything(box: Box) -> None:
    assert len(found(box, FlowQuery())) == OPEN + 2


@pytest.mark.parametrize(("state", "count"), [("established", OPEN + 1), ("syn_sent", 1), ("pass", 0), ("closed", 0)])
def test_by_state(box: Box, state: str, count: int) -> None:
    assert {flow["state"] for flow in found(box, flows.query({"state": state}))} <= {state}
    assert len(found(box, flows.query({"state": state}))) == count


def test_by_address_of_either_family(box: Box) -> None:
    """As Python's own arithmetic finds them among all."""
    everything = [flows.report(flow) for flow in found(box, FlowQuery())]
    one = everything[7]
    network = ipaddress.ip_network((one["client"], 32 if "." in one["client"] else 128))
    for name, wide in (("client", "198.18.0.0/15"), ("client", str(network)), ("server", "2001:db8::/32")):
        span = ipaddress.ip_network(wide)
        expected = [flow for flow in everything if ipaddress.ip_address(flow[name]) in span]  # type: ignore[literal-required]
        assert expected
        assert ends(flows.report(flow) for flow in found(box, flows.query({name: wide}))) == ends(expected)


def test_by_port_and_service(box: Box) -> None:
    port = found(box, FlowQuery())[0]["server_port"]
    assert len(found(box, flows.query({"port": str(port)}))) == OPEN + 2
    assert len(found(box, flows.query({"port": f"{port - 1}-{port}"}))) == OPEN + 2
    assert found(box, flows.query({"port": f"{port + 1}-65535"})) == []
    assert found(box, flows.query({"port": f"1-{port - 1}"})) == []
    name = found(box, FlowQuery())[0]["service"]
    assert len(found(box, flows.query({"service": name}))) == OPEN + 2
    assert found(box, flows.query({"service": "no-such"})) == []


def test_pages_are_the_whole_table_once(box: Box) -> None:
    seen: list[Flow] = []
    cursor: int | None = 0
    pages = 0
    while cursor is not None:
        page, cursor = box.plane.flow_page(FlowQuery(), cursor, 7)
        assert len(page) <= 7
        seen += page
        pages += 1
    keys = {(flow["client"], flow["client_port"]) for flow in seen}
    assert (len(seen), len(keys)) == (OPEN + 2, OPEN + 2)
    assert pages > OPEN // 7, "a page is a part of the table"


def test_a_page_looks_at_a_part_of_the_table_even_when_it_finds_nothing(box: Box) -> None:
    page, cursor = box.plane.flow_page(FlowQuery(service="no-such"), 0, 1000)
    assert page == []
    assert cursor is not None
    assert 0 < cursor < 1 << 17


@pytest.mark.parametrize("cursor", [1 << 17, (1 << 32) - 1])
def test_a_cursor_behind_the_end_finds_nothing(box: Box, cursor: int) -> None:
    assert box.plane.flow_page(FlowQuery(), cursor, 10) == ([], None)


@pytest.mark.parametrize(
    "asked",
    [
        {"client": "somewhere"},
        {"server": "192.0.2.1/33"},
        {"port": "0"},
        {"port": "web"},
        {"state": "free"},
        {"state": ""},
    ],
)
def test_what_cannot_be_asked_is_said(asked: dict[str, str]) -> None:
    with pytest.raises(WrongValue):
        flows.query(asked)


def test_query_maps_ipv4() -> None:
    assert flows.query({"client": "192.0.2.1"}).client == (mapped("192.0.2.1"), mapped("192.0.2.1"))


def test_a_line_a_connection(box: Box) -> None:
    flow = flows.report(found(box, flows.query({"state": "syn_sent"}))[0])
    text = command.line(flow | {"vlans": [10, 20], "age_ms": 61_000, "idle_ms": 1500})
    assert text.split() == [
        f"{flow['client']}:{flow['client_port']}",
        f"{flow['server']}:{flow['server_port']}@10@20",
        "syn_sent",
        flow["service"],
        "00:01:01",
        "1.5",
        "s",
    ]
