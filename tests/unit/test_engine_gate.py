"""What the gate lets by: nothing that is junk, forged, in fragments or for nobody; and each drop has its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from box.box import FULL, START_S, Box, Talk, mapped, service
from box.wire import MASK, PATHS, V4, V6, Option, Path, fragments
from scapy.layers.inet import IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Raw

FLAGS = [
    "".join(name for bit, name in enumerate("FSRPAU") if bits >> bit & 1) for bits in range(64)
]  # every combination


@pytest.fixture
def box() -> Iterator[Box]:
    with Box() as one:
        yield one


def reason(box: Box, frame: bytes) -> str:
    """Why this frame from outside was dropped; "pass" if it was not."""
    before = box.counts["drops"]
    result = box.outside(frame)
    after = box.counts["drops"]
    if result.verdict != "drop":
        return result.verdict
    (name,) = [name for name in after if after[name] > before[name]]
    return name


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
def test_every_combination_of_flags_without_a_connection(box: Box, path: Path, flags: str) -> None:
    found = reason(box, path.from_client(flags=flags, seq=5, ack=6))
    has = set(flags)
    if not has & set("SRA") or {"S", "F"} <= has or {"S", "R"} <= has or {"R", "F"} <= has:
        assert found == "tcp_flags"
    elif "S" in has and "A" not in has:
        assert found == "syn_answered"
    elif "A" in has and not has & set("SR"):
        assert found == "cookie_invalid"
    else:
        assert found == "no_flow"
    assert box.states() == []


@pytest.mark.parametrize("flags", FLAGS)
def test_junk_flags_do_not_touch_a_connection(box: Box, flags: str) -> None:
    has = set(flags)
    talk = Talk(box)
    talk.open()
    result = talk.client(flags=flags)
    if not has & set("SRA") or {"S", "F"} <= has or {"S", "R"} <= has or {"R", "F"} <= has:
        assert (result.verdict, result.sent) == ("drop", [])
        assert box.states() == ["established"]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("flags", ["S", "A"])
def test_wrong_checksum_is_dropped(path: Path, flags: str) -> None:
    with Box() as box:
        talk = Talk(box, path)
        talk.syn()
        packet = path.client_packet(flags=flags, seq=talk.c_next, ack=talk.isn + 1 & MASK)
        packet[TCP].chksum = 0x1234
        assert reason(box, path.frame(packet, inside=False)) == "tcp_checksum"
        if path.family == 4:
            packet = path.client_packet(flags=flags, seq=talk.c_next, ack=talk.isn + 1 & MASK)
            packet[IP].chksum = 0x1234
            assert reason(box, path.frame(packet, inside=False)) == "ip_checksum"
        assert box.states() == []


@pytest.mark.parametrize(
    "source", ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"]
)
def test_source_that_no_client_has_is_not_answered(box: Box, source: str) -> None:
    assert reason(box, replace(V4, client=source).from_client(flags="S")) == "ip_source"


@pytest.mark.parametrize("source", ["::", "::1", "ff02::1", "::ffff:198.18.0.7", "::198.18.0.7"])
def test_source_that_no_client_has_is_not_answered_ipv6(box: Box, source: str) -> None:
    assert reason(box, replace(V6, client=source).from_client(flags="S")) == "ip_source"


@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
def test_land(box: Box, path: Path) -> None:
    assert reason(box, replace(path, client=path.server).from_client(flags="S")) == "ip_source"


@pytest.mark.parametrize("cut", range(1, 40))
@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
def test_packet_cut_off_anywhere_is_junk(box: Box, path: Path, cut: int) -> None:
    frame = path.from_client(flags="S", options=FULL)
    assert reason(box, frame[:-cut]) == "truncated"


@pytest.mark.parametrize("words", [0, 1, 4, 11, 15])
def test_impossible_tcp_header_length(box: Box, words: int) -> None:
    packet = V4.client_packet(flags="S")
    packet[TCP].dataofs = words
    assert reason(box, V4.frame(packet, inside=False)) == "tcp_header"


@pytest.mark.parametrize(("cport", "sport"), [(0, 80), (40000, 0)])
def test_port_zero(box: Box, cport: int, sport: int) -> None:
    box.plane.set_services([service(ports=((0, 65535),))])
    assert reason(box, replace(V4, cport=cport, sport=sport).from_client(flags="S")) == "tcp_header"


def test_ip_options_and_extension_headers_are_stepped_over(box: Box) -> None:
    packet = IP(src=V4.client, dst=V4.server, options=[IPOption_Router_Alert()]) / TCP(sport=9, dport=80, flags="S")
    assert reason(box, V4.frame(packet, inside=False)) == "syn_answered"
    headers = IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(segleft=0)
    base = IPv6(src=V6.client, dst=V6.server)
    assert reason(box, V6.frame(base / headers / TCP(sport=9, dport=80, flags="S"), inside=False)) == "syn_answered"
    atomic = base / IPv6ExtHdrFragment(m=0, offset=0) / TCP(sport=10, dport=80, flags="S")
    assert reason(box, V6.frame(atomic, inside=False)) == "syn_answered"


def test_too_many_extension_headers_are_junk(box: Box) -> None:
    packet = IPv6(src=V6.client, dst=V6.server)
    for _ in range(9):
        packet = packet / IPv6ExtHdrDestOpt()
    frame = V6.frame(packet / TCP(sport=9, dport=80, flags="S"), inside=False)
    assert reason(box, frame) == "ipv6_headers"


def test_what_is_not_tcp_passes(box: Box) -> None:
    udp = IP(src=V4.client, dst=V4.server) / UDP(sport=9, dport=80) / Raw(b"x")
    assert box.outside(V4.frame(udp, inside=False)).verdict == "pass"
    arp = V4.frame(udp, inside=False)[:12] + b"\x08\x06" + bytes(28)
    assert box.outside(arp).verdict == "pass"
    assert box.events() == {"passed": 2}


def test_what_is_not_protected_passes(box: Box) -> None:
    for flags in FLAGS:
        path = replace(V4, sport=22)
        frame = path.from_client(flags=flags)
        assert box.outside(frame).verdict == ("drop" if reason_is_junk(flags) else "pass")
    assert box.states() == []


def reason_is_junk(flags: str) -> bool:
    has = set(flags)
    return not has & set("SRA") or {"S", "F"} <= has or {"S", "R"} <= has or {"R", "F"} <= has


def test_junk_from_inside_is_not_ours_to_judge(box: Box) -> None:
    assert box.inside(V4.from_server(flags="FSRPAU")).verdict == "pass"


# -- fragments


@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("first_bytes", [8, 16, 24, 40])
@pytest.mark.parametrize("fragments_pass", [False, True])
def test_syn_in_fragments_never_reaches_a_server(path: Path, first_bytes: int, fragments_pass: bool) -> None:
    with Box(service(fragments_pass=fragments_pass)) as box:
        packet = path.client_packet(flags="S", options=FULL, data=b"")
        verdicts = [box.outside(frame).verdict for frame in fragments(path, packet, first_bytes)]
        if fragments_pass and first_bytes < 40:
            assert verdicts == ["pass", "pass"], "without a whole TCP header nobody can say what it is"
        elif fragments_pass:
            assert verdicts == ["drop", "pass"]
        else:
            assert verdicts == ["drop", "drop"]
            assert box.drops() == {"fragment": 2}
        assert box.states() == []


@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
def test_data_in_fragments_is_translated_where_fragments_may_pass(path: Path) -> None:
    with Box(service(fragments_pass=True)) as box:
        talk = Talk(box, path)
        talk.open()
        packet = path.client_packet(flags="PA", seq=talk.c_next, ack=talk.s_next_told, data=bytes(100))
        whole = path.client_packet(flags="PA", seq=talk.c_next, ack=talk.s_next, data=bytes(100))
        first, second = (box.outside(frame) for frame in fragments(path, packet, 40))
        assert (first.verdict, second.verdict) == ("rewrite", "pass")
        expected = fragments(path, whole, 40)
        assert transport(first.frame, path)[:16] == transport(expected[0], path)[:16], "ports, seq, ack, flags, window"
        assert transport(first.frame, path) == transport(expected[0], path), "and a checksum of the whole"


def transport(frame: bytes, path: Path) -> bytes:
    return frame[14 + (20 if path.family == 4 else 48) :]


def test_fragments_from_inside_are_translated_too(box: Box) -> None:
    talk = Talk(box)
    talk.open()
    packet = V4.server_packet(flags="PA", seq=talk.s_next, ack=talk.c_next, data=bytes(100))
    frames = [frame[14:] for frame in fragments(V4, packet, 40)]
    turned = [piece[:12] + piece[16:20] + piece[12:16] + piece[20:] for piece in frames]
    verdicts = [box.inside(V4.frame(IP(piece), inside=True)).verdict for piece in turned]
    assert verdicts == ["rewrite", "pass"]


def test_fragments_to_nobody_pass(box: Box) -> None:
    path = replace(V4, server="198.19.9.9")
    packet = path.client_packet(flags="S", data=bytes(100))
    assert [box.outside(frame).verdict for frame in fragments(path, packet, 40)] == ["pass", "pass"]


# -- cookies


def test_forged_acks_open_nothing(box: Box) -> None:
    Talk(box, V4.other(999)).syn()
    for number in range(200):
        path = V4.other(number)
        frame = path.from_client(seq=number, ack=number * 7919 + 1)
        assert reason(box, frame) in ("cookie_invalid", "ack_no_cookie_out")
    assert box.states() == []
    assert box.events()["cookie_invalid"] == 200


@pytest.mark.parametrize("bit", range(32))
def test_cookie_with_one_bit_wrong_is_no_cookie(bit: int) -> None:
    with Box(half_open=4) as box:
        talk = Talk(box)
        talk.syn()
        talk.flood()
        frame = V4.from_client(seq=talk.c_next, ack=(talk.isn ^ 1 << bit) + 1 & MASK)
        assert reason(box, frame) in ("cookie_invalid", "cookie_expired", "ack_no_cookie_out")
        assert len(talk.ack()) == 1


@pytest.mark.parametrize("change", ["client", "server", "cport", "sport", "seq"])
def test_cookie_of_another_connection_is_no_cookie(change: str) -> None:
    other = {"client": "198.18.0.8", "server": "198.19.0.11", "cport": 40001, "sport": 443}
    with Box(half_open=4) as box:
        talk = Talk(box)
        talk.syn()
        talk.flood()
        path = replace(V4, **({} if change == "seq" else {change: other[change]}))  # type: ignore[arg-type]
        seq = talk.c_next + (change == "seq") & MASK
        assert reason(box, path.from_client(seq=seq, ack=talk.isn + 1 & MASK)) == "cookie_invalid"


@pytest.mark.parametrize("evicted", [True, False])
@pytest.mark.parametrize("age_s", [1, 31, 33, 63])
def test_cookie_lives_as_long_as_a_client_may_take(evicted: bool, age_s: int) -> None:
    with Box(half_open=4) as box:
        box.now_s = START_S - START_S % 32  # at the beginning of an epoch
        talk = Talk(box)
        talk.syn()
        if evicted:
            talk.flood()
        age(box, age_s)
        assert [one.flags for one in talk.ack() if one.side == "inside"] == ["S"]


@pytest.mark.parametrize("evicted", [True, False])
@pytest.mark.parametrize("age_s", [66, 95, 97, 130, 100_000])
def test_cookie_is_not_replayed_when_its_key_has_expired(evicted: bool, age_s: int) -> None:
    with Box(half_open=4) as box:
        box.now_s = START_S - START_S % 32
        talk = Talk(box)
        talk.syn()
        if evicted:
            talk.flood()
        age(box, age_s)
        assert talk.ack() == []
        assert box.states() == []


def age(box: Box, seconds: int) -> None:
    """Time passes second by second, with ticks."""
    for _ in range(min(seconds, 200)):
        for _ in range(10):
            box.now_ms += 100
            box.tick()
        box.now_s += 1
    if seconds > 200:
        box.now_ms += (seconds - 200) * 1000
        box.now_s += seconds - 200
        box.tick()


def test_without_a_cookie_out_nothing_is_hashed(box: Box) -> None:
    """Two epochs after a start no predecessor's cookie can be out any more."""
    assert reason(box, V4.from_client(seq=1, ack=2)) == "cookie_invalid"
    age(box, 100)
    assert {reason(box, V4.from_client(seq=1, ack=ack)) for ack in (2, 3)} == {"ack_no_cookie_out"}
    talk = Talk(box)
    talk.syn()
    assert "cookie_invalid" in {reason(box, V4.other(1).from_client(seq=1, ack=ack)) for ack in (2, 3)}


@pytest.mark.parametrize("evicted", [True, False])
@pytest.mark.parametrize("jump_s", [-3600, -40, -31, 31, 32])
def test_clock_that_is_set_loses_no_handshake(evicted: bool, jump_s: int) -> None:
    """Also where the epoch changes by one; a jump of more makes clients without an entry begin again."""
    with Box(half_open=4) as box:
        talk = Talk(box)
        talk.syn()
        if evicted:
            talk.flood()
        box.now_s += jump_s
        box.now_ms += 100
        box.tick()
        opened = bool(talk.ack())
        assert opened or (evicted and abs(jump_s) > 32)
        again = Talk(box, V4.other(700))
        assert again.open() != []


def test_boxes_with_one_secret_agree() -> None:
    with Box(half_open=4) as one, Box(half_open=4) as other:
        other.outside(V4.other(1).from_client(flags="S"))  # it must have a cookie out to look at any
        talk = Talk(one)
        talk.syn()
        talk.box = other
        assert [packet.flags for packet in talk.ack()] == ["S"]
    with Box(half_open=4, secret=bytes(32)) as stranger:
        talk = Talk(stranger)
        with Box() as one:
            talk.box = one
            talk.syn()
        talk.box = stranger
        assert talk.ack() == []


# -- floods


@pytest.mark.parametrize("options", [[], FULL], ids=["no options", "all options"])
def test_syn_flood_leaves_nothing_but_answers(options: list[Option]) -> None:
    with Box(half_open=64) as box:
        talk = Talk(box)
        talk.open()
        for frame in V4.syns(5000, options):
            verdict, _, ((side, layer, _),) = box.plane.packet("outside", frame, box.now_ms)
            assert (verdict, side, layer) == ("drop", "outside", "l2")
        box.wait(300)
        after = box.plane.occupancy()
        assert after["flows_used"] == 1
        assert after["half_open_used"] == after["half_open_capacity"] == 64
        assert talk.server(b"x").forwarded.seq == talk.s_next_told
        assert box.drops()["syn_answered"] == 5001


def test_repeated_answers_to_a_flood_are_bounded() -> None:
    with Box(half_open=8192) as box:
        for frame in V4.syns(4000):
            box.plane.packet("outside", frame, box.now_ms)
        again = 0
        for _ in range(200):
            box.now_ms += 10
            again += len(box.plane.tick(box.now_ms))
        assert 2000 <= again <= 4000


def test_half_open_entries_are_counted_and_forgotten(box: Box) -> None:
    for number in range(10):
        Talk(box, V4.other(number)).syn()
    box.wait(600)
    assert box.plane.occupancy()["half_open_used"] == 10
    Talk(box, V4.other(0)).ack()
    box.pass_seconds(70)
    assert box.plane.occupancy()["half_open_used"] == 0


def test_data_in_a_syn_is_left_to_tcp(box: Box) -> None:
    talk = Talk(box)
    (answer,) = box.outside(V4.from_client(flags="S", seq=talk.c_isn, options=FULL, data=b"fast open")).sent
    assert answer.ack == (talk.c_isn + 1) & MASK
    assert mapped(answer.src) == mapped(V4.server)
