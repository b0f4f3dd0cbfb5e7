"""What the SYN-ACK announces: the service's first guess, then what the server was heard to answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from box.box import FULL, Box, Talk, service, stamps
from box.wire import MASK, PATHS, V4, V6, Option, Path, Seg

SMALL: list[Option] = [("MSS", 1200)]


@pytest.fixture
def box() -> Iterator[Box]:
    with Box() as one:
        yield one


def answers(seg: Seg) -> dict[str, object]:
    """What a SYN-ACK announces."""
    found = {name: seg.option(name) for name in ("MSS", "WScale") if name in seg.names}
    return found | {name: True for name in ("SAckOK", "Timestamp") if name in seg.names}


def next_answer(box: Box, path: Path = V4, options: list[Option] = FULL, flags: str = "S") -> Seg:
    """The SYN-ACK that another client gets now."""
    return Talk(box, path.other(box.now_ms % 60000), c_options=options).syn(flags=flags)


@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
def test_first_guess_is_the_services(path: Path) -> None:
    with Box(service(mss4=1400, mss6=1380, wscale=3, sack=False, timestamps=True)) as box:
        assert answers(Talk(box, path).syn()) == {
            "MSS": 1400 if path.family == 4 else 1380,
            "WScale": 3,
            "Timestamp": True,
        }


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize(
    "offer",
    [
        [("MSS", 8960), ("SAckOK", b""), ("Timestamp", (1, 7000)), ("WScale", 14)],
        [("MSS", 536), ("WScale", 0)],
        [("MSS", 1452), ("SAckOK", b"")],
        [("MSS", 1300), ("Timestamp", (1, 7000))],
        [],
    ],
)
def test_second_client_is_told_what_the_server_answered_the_first(path: Path, offer: list[Option]) -> None:
    with Box() as box:
        Talk(box, path, s_options=offer).open()
        wanted = {name: value for name, value in offer if name in ("MSS", "WScale")}
        wanted |= {name: True for name, _ in offer if name in ("SAckOK", "Timestamp")}
        assert answers(next_answer(box, path)) == wanted


def test_each_server_and_port_is_learned_by_itself(box: Box) -> None:
    Talk(box, s_options=SMALL).open()
    other = Path(server="198.19.0.11")
    assert next_answer(box).option("MSS") == 1200
    assert next_answer(box, other).option("MSS") == 1460
    assert next_answer(box, Path(sport=443)).option("MSS") == 1460
    assert [(b["address"][-4:], b["port"], b["mss"]) for b in box.plane.backends()] == [(b"\xc6\x13\0\x0a", 80, 1200)]


@pytest.mark.parametrize("options", [[], [("MSS", 1460)]])
def test_client_that_offers_nothing_teaches_nothing(box: Box, options: list[Option]) -> None:
    """A server answers only what it is asked for: one old client must not take the options away from all others."""
    Talk(box, c_options=options, s_options=SMALL).open()
    assert answers(next_answer(box)) == {"MSS": 1200, "WScale": 7, "SAckOK": True, "Timestamp": True}
    (backend,) = box.plane.backends()
    assert backend["known"] == ()


def test_what_was_known_stays_known(box: Box) -> None:
    Talk(box).open()
    Talk(box, V4.other(1), c_options=SMALL, s_options=SMALL).open()
    assert answers(next_answer(box)) == {"MSS": 1200, "WScale": 5, "SAckOK": True, "Timestamp": True}
    (backend,) = box.plane.backends()
    assert backend["known"] == ("wscale", "sack", "timestamps")
    assert (backend["wscale"], backend["sack"], backend["timestamps"]) == (5, True, True)


def test_scale_that_a_server_begins_to_use_is_noticed(box: Box) -> None:
    """The client was told none, so its windows are plain: the server is offered a scale of 0 and may answer its own."""
    Talk(box, s_options=[("MSS", 1460), ("SAckOK", b"")]).open()
    talk = Talk(box, V4.other(1), s_options=[("MSS", 1460), ("SAckOK", b""), ("WScale", 4)])
    assert "WScale" not in talk.syn().names
    (syn,) = talk.ack()
    assert syn.option("WScale") == 0
    talk.synack()
    assert talk.server(window=4000).forwarded.window == 64000
    assert talk.server(window=5000).forwarded.window == 65535
    assert talk.client(window=65535).forwarded.window == 65535
    assert next_answer(box).option("WScale") == 4


def test_sack_that_a_server_begins_to_use_is_noticed(box: Box) -> None:
    Talk(box, s_options=SMALL).open()
    talk = Talk(box, V4.other(1), c_options=[("MSS", 1460), ("SAckOK", b"")], s_options=[("SAckOK", b"")])
    assert "SAckOK" not in talk.syn().names
    (syn,) = talk.ack()
    assert "SAckOK" in syn.names
    talk.synack()
    edges = ((talk.c_next + 10) & MASK, (talk.c_next + 20) & MASK)
    down = talk.server(options=[("NOP", None), ("NOP", None), ("SAck", edges)]).forwarded
    assert down.names == (), "the client did not agree to SACK"
    assert "SAckOK" in next_answer(box).names


def test_server_that_drops_its_options_is_noticed(box: Box) -> None:
    Talk(box).open()
    Talk(box, V4.other(1), s_options=SMALL).open()
    assert answers(next_answer(box)) == {"MSS": 1200}


def test_scale_told_before_a_change_holds_for_cookies_that_are_out() -> None:
    """Too small a window is harmless, too large a one is not: of two scales the larger is taken."""
    with Box(half_open=4) as box:
        talk = Talk(box, V4.other(700))
        assert talk.syn().option("WScale") == 7
        talk.flood()
        other = Talk(box, V4.other(701))
        other.open()
        assert box.plane.backends()[0]["wscale"] == 5
        talk.ack()
        talk.synack()
        assert talk.server(window=1000).forwarded.window == 1000 << 5 >> 7


def test_ecn_is_learned_and_then_announced(box: Box) -> None:
    talk = Talk(box)
    assert talk.syn(flags="SEC").flags == "SA"
    (syn,) = talk.ack()
    assert syn.flags == "SEC"
    talk.synack(flags="SAE")
    assert next_answer(box, flags="SEC").flags == "SAE"
    assert next_answer(box, flags="S").flags == "SA"
    assert "ecn" in box.plane.backends()[0]["known"]
    again = Talk(box, V4.other(2))
    again.syn(flags="SEC")
    (syn,) = again.ack()
    assert syn.flags == "SEC"
    again.synack(flags="SA")
    assert next_answer(box, flags="SEC").flags == "SA"


@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
def test_client_that_was_not_told_of_ecn_gets_no_marked_packets(path: Path) -> None:
    """A router may mark such a packet instead of dropping it, and nobody would tell the server."""
    with Box() as box:
        talk = Talk(box, path)
        talk.syn(flags="SEC")
        talk.ack()
        talk.synack(flags="SAE")
        packet = talk.path.server_packet(seq=talk.s_next, ack=talk.c_next, data=b"x", options=stamps(950, 7000))
        setattr(packet, "tos" if path.family == 4 else "tc", 0xBA)
        result = box.inside(path.frame(packet, inside=True))
        assert result.forwarded.data == b"x"
        tos = result.frame[15] if path.family == 4 else int.from_bytes(result.frame[14:16], "big") >> 4 & 0xFF
        assert tos == 0xB8


def test_client_that_repeats_its_syn_without_ecn_means_it(box: Box) -> None:
    first = Talk(box)
    first.syn(flags="SEC")
    first.ack()
    first.synack(flags="SAE")
    talk = Talk(box, V4.other(1))
    cookie = talk.syn(flags="SEC").seq
    again = talk.syn(flags="S")
    assert (again.flags, again.seq) == ("SA", cookie)
    assert talk.ack()[0].flags == "S"


def test_ecn_agreed_survives_the_cookie() -> None:
    with Box(half_open=4) as box:
        first = Talk(box, V4.other(700))
        first.syn(flags="SEC")
        first.ack()
        first.synack(flags="SAE")
        talk = Talk(box, V4.other(701))
        assert talk.syn(flags="SEC").flags == "SAE"
        talk.flood()
        (syn,) = talk.ack()
        assert syn.flags == "SEC"


def _set_of(server: str, port: int) -> int:
    """Which set of the cache a server is kept in, as core/learned.h says."""
    first, second = (int.from_bytes(half, "little") for half in (bytes(8), bytes(2) + b"\xff\xff" + _bytes(server)))
    h = (first ^ port) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    h = (h ^ h >> 32 ^ second) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    return (h >> 32) % 2048


def _bytes(address: str) -> bytes:
    return bytes(int(part) for part in address.split("."))


def test_servers_that_share_a_place_displace_the_one_seen_longest_ago() -> None:
    with Box(service(ports=((1, 65535),))) as box:
        wanted = _set_of(V4.server, 80)
        ports = [port for port in range(1, 65536) if _set_of(V4.server, port) == wanted][:5]
        for port in ports:
            box.now_ms += 1
            Talk(box, Path(sport=port), s_options=SMALL).open()
        told = {port: Talk(box, Path(sport=port, cport=9)).syn().option("MSS") for port in ports}
        assert told == {ports[0]: 1460} | dict.fromkeys(ports[1:], 1200)
