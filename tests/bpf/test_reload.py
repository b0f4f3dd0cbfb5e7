"""Other services while a handshake goes on: a client that has the box's SYN-ACK is opened by the box."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from box.box import Talk, service
from box.wire import PATHS

from bpf.both import Both
from cext.dataplane import ServiceSpec

AFTERWARDS: dict[str, tuple[ServiceSpec, ...]] = {
    "off": (service(protect=False),),
    "renamed": (service("other"),),
    "gone": (),
}


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with Both(tmp_path_factory.mktemp("reload"), (service(),)) as one:
        yield one


@pytest.fixture
def both(boxes: Both) -> Both:
    boxes.set_services((service(),))
    return boxes


@pytest.mark.parametrize("name", ["ipv4", "ipv6 in QinQ"])
@pytest.mark.parametrize("services", AFTERWARDS.values(), ids=AFTERWARDS)
def test_a_promised_connection_is_opened(both: Both, name: str, services: tuple[ServiceSpec, ...]) -> None:
    path = replace(PATHS[name], cport=42000 + list(AFTERWARDS.values()).index(services))
    both.begin(path)
    talk = Talk(both, path)  # type: ignore[arg-type]  # Both has what Talk asks of a Box
    talk.syn()
    both.set_services(services)
    (syn,) = talk.ack(b"early")
    assert syn.flags == "S"
    talk.c_sent += 5
    talk.synack()
    assert talk.client(b"later").verdict == "rewrite"
    assert both.outcome.verdict == "redirect"


@pytest.mark.parametrize("name", ["ipv4", "ipv6 in QinQ"])
def test_what_was_promised_nothing_passes(both: Both, name: str) -> None:
    """A connection that a client opened with its server before is the server's own."""
    path = replace(PATHS[name], cport=43000)
    both.begin(path)
    talk = Talk(both, path)  # type: ignore[arg-type]
    talk.syn()
    both.set_services((service(protect=False),))
    frame = path.from_client(seq=talk.c_next, ack=12345)
    assert both.outside(frame).verdict == "pass"
    assert both.outcome.verdict == "pass"
