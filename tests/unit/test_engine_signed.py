"""TCP-MD5 and TCP-AO: no box can sign an answer, so the SYN goes to the server; only its signed answer opens a way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from box.box import Box, service
from box.wire import PATHS, V4, Option, Path
from scapy.layers.inet import TCPAOValue

PER_S = 50
MD5: Option = ("MD5", bytes(range(16)))
AO: Option = ("AO", TCPAOValue(keyid=1, rnextkeyid=1, mac=bytes(12)))
SIGNATURES = {"md5": MD5, "ao": AO}


@pytest.fixture(params=list(SIGNATURES))
def signature(request: pytest.FixtureRequest) -> Option:
    return SIGNATURES[request.param]


@pytest.fixture
def box() -> Iterator[Box]:
    with Box(service()) as one:
        yield one


def syn(box: Box, path: Path, signature: Option, seq: int = 100) -> str:
    return box.outside(path.from_client(flags="S", seq=seq, options=[("MSS", 1460), signature])).verdict


def synack(box: Box, path: Path, *signatures: Option) -> str:
    answer: list[Option] = [("MSS", 1460), *signatures]
    return box.inside(path.from_server(flags="SA", seq=900, ack=101, options=answer)).verdict


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_signed_connection_passes_untouched(box: Box, path: Path, signature: Option) -> None:
    frame = path.from_client(flags="S", seq=100, options=[("MSS", 1460), signature])
    result = box.outside(frame)
    assert (result.verdict, result.frame, result.sent) == ("pass", frame, [])
    assert synack(box, path, signature) == "pass"
    assert box.states() == ["pass"]
    assert box.outside(path.from_client(flags="A", seq=101, ack=901, options=[signature])).verdict == "pass"
    assert box.outside(path.from_client(data=b"open", seq=101, ack=901, options=[signature])).verdict == "pass"
    assert box.inside(path.from_server(data=b"open", seq=901, ack=105, options=[signature])).verdict == "pass"
    assert box.events()["signed_passed"] == 1


def test_a_signed_syn_alone_opens_nothing(box: Box, signature: Option) -> None:
    assert syn(box, V4, signature) == "pass"
    assert box.outside(V4.from_client(flags="A", seq=101, ack=901, options=[signature])).verdict == "drop"
    assert box.states() == []


def test_an_answer_without_signature_opens_nothing(box: Box, signature: Option) -> None:
    assert syn(box, V4, signature) == "pass"
    result = box.inside(V4.from_server(flags="SA", seq=900, ack=101, options=[("MSS", 1460)]))
    assert (result.verdict, [seg.flags for seg in result.sent]) == ("drop", ["R"])
    assert box.states() == []


def test_a_refusal_passes(box: Box, signature: Option) -> None:
    assert syn(box, V4, signature) == "pass"
    assert box.inside(V4.from_server(flags="RA", seq=0, ack=101, options=[signature])).verdict == "pass"
    assert box.states() == []


def test_a_repeated_syn_passes_until_the_client_has_confirmed(box: Box, signature: Option) -> None:
    assert (syn(box, V4, signature), synack(box, V4, signature), syn(box, V4, signature)) == ("pass",) * 3
    assert box.outside(V4.from_client(flags="A", seq=101, ack=901, options=[signature])).verdict == "pass"
    assert syn(box, V4, signature) == "drop"
    assert box.drops() == {"syn_in_flow": 1}


def test_a_flood_of_signed_syns_reaches_the_server_at_a_trickle(box: Box, signature: Option) -> None:
    verdicts = [syn(box, V4.other(number), signature) for number in range(4 * PER_S)]
    assert (verdicts.count("pass"), verdicts[:PER_S]) == (PER_S, ["pass"] * PER_S)
    box.now_ms += 1000
    assert syn(box, V4, signature) == "pass"
    assert box.drops() == {"tcp_signature": 3 * PER_S}


def test_damaged_ones_take_nobody_s_place(box: Box, signature: Option) -> None:
    good = V4.from_client(flags="S", seq=100, options=[signature])
    for _ in range(2 * PER_S):
        assert box.outside(good[:-1] + bytes([good[-1] ^ 1])).verdict == "drop"
    assert box.outside(good).verdict == "pass"
    assert box.drops() == {"tcp_checksum": 2 * PER_S}


def test_where_they_are_not_wanted_they_are_dropped(signature: Option) -> None:
    with Box(service(signed_drop=True)) as box:
        assert syn(box, V4, signature) == "drop"
        assert synack(box, V4, signature) == "drop"
        assert box.states() == []
        assert box.drops() == {"tcp_signature": 1, "server_unexpected": 1}
