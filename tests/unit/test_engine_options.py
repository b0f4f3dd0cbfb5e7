"""Every combination of options on each side: what is offered, announced, agreed and repaired."""

from __future__ import annotations

import itertools

import pytest
from box.box import Box, Talk, service, stamps
from box.wire import MASK, V4, V6, Option, Path, Seg

SIZES = (None, 216, 536, 1220, 1360, 1440, 1452, 1460, 8960)
SCALES = (None, *range(15))
YES_NO = (False, True)


def options(mss: int | None, wscale: int | None, sack: bool, times: bool) -> list[Option]:
    """The options of a SYN or SYN-ACK."""
    found: list[Option] = [("MSS", mss)] if mss else []
    found += [("SAckOK", b"")] * sack + [("Timestamp", (7000, 0))] * times
    return found + ([] if wscale is None else [("WScale", wscale)])


def told(seg: Seg) -> tuple[int | None, int | None, bool, bool]:
    """The same, of a packet of the box."""
    return seg.option("MSS"), seg.option("WScale"), "SAckOK" in seg.names, "Timestamp" in seg.names


def rounded(values: tuple[int, ...], value: int) -> int:
    """The largest of a table that is not larger, else its first."""
    return max((entry for entry in values if entry <= value), default=values[0])


COOKIE_MSS = {
    4: (216, 536, 1220, 1360, 1400, 1440, 1460, 8960),
    6: (216, 536, 1220, 1340, 1380, 1420, 1440, 8940),
}
COOKIE_SCALES = (0, 2, 4, 6, 7, 8, 10)


@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize(("sack", "times"), list(itertools.product(YES_NO, YES_NO)))
@pytest.mark.parametrize("evicted", YES_NO)
def test_client_options(path: Path, sack: bool, times: bool, evicted: bool) -> None:
    """The server is asked for exactly what the client offered, or as near below as the cookie can say it."""
    with Box(flows=256, half_open=4) as box:
        guess = 1460 if path.family == 4 else 1440
        for number, (mss, wscale) in enumerate(itertools.product(SIZES, SCALES)):
            talk = Talk(box, path.other(20000 + number), c_options=options(mss, wscale, sack, times))
            assert told(talk.syn()) == (guess, None if wscale is None else 7, sack, times)
            if evicted:
                talk.flood()
            (syn,) = talk.ack(window=2)
            if not evicted:
                assert told(syn) == (mss, wscale, sack, times)
                assert syn.window == 64240
                continue
            scale = wscale if times or wscale is None else rounded(COOKIE_SCALES, wscale)
            assert told(syn) == (rounded(COOKIE_MSS[path.family], mss or 536), scale, sack, times)
            assert syn.window == min(2 << (scale or 0), 65535)


@pytest.mark.parametrize("asked", list(itertools.product((None, 0, 7, 14), YES_NO, YES_NO)), ids=str)
def test_server_options(asked: tuple[int | None, bool, bool]) -> None:
    """Whatever a server answers: what both agreed on is translated, the rest is taken out, windows are right."""
    wscale, sack, times = asked
    answers = itertools.product(SIZES, (None, 0, 5, 14), YES_NO, YES_NO)
    for number, (mss, s_wscale, s_sack, s_times) in enumerate(answers):
        if number % 3:
            continue  # every third is enough for each pair of values, and a third of the time
        with Box(service(wscale=3)) as box:
            talk = Talk(box, c_options=options(1400, wscale, sack, times))
            talk.s_options = options(mss, s_wscale if wscale is not None else None, s_sack and sack, s_times and times)
            talk.open()
            edges = (talk.s_next_told + 10 & MASK, talk.s_next_told + 20 & MASK)
            sent: list[Option] = [("NOP", None), ("NOP", None), ("SAck", edges)] if sack else []
            sent += stamps(7001, talk.echo) if times else []
            up = talk.client(options=sent, window=9).forwarded
            assert (up.option("SAck") is not None) == (sack and s_sack)
            assert up.option("Timestamp") == ((7001, 7000) if times and s_times else None)
            answer: list[Option] = stamps(7500, 7001) if times and s_times else []
            down = talk.server(options=answer, window=40000).forwarded
            assert down.option("Timestamp") == ((talk.echo + 500 & MASK, 7001) if answer else None)
            own = s_wscale if wscale is not None and s_wscale is not None else 0
            scale_told = 3 if wscale is not None else 0
            assert down.window == min((40000 << own) >> scale_told, 65535)


MALFORMED = {
    "length 0": b"\x02\x00\x05\xb4",
    "length 1": b"\x02\x01\x05\xb4",
    "MSS of length 3": b"\x02\x03\x05\x01",
    "MSS of 0": b"\x02\x04\x00\x00",
    "past the end": b"\x08\x0a\x00\x01",
    "kind without a length": b"\x01\x01\x01\x08",
    "end first": b"\x00\x02\x04\x05",
    "unknown": b"\xfd\x04\xf9\x89",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_malformed_options_are_as_if_they_were_not_there(raw: bytes) -> None:
    with Box() as box:
        frame = bytearray(V4.from_client(flags="S", seq=9, options=[("NOP", None)] * 4))
        frame[54:58] = raw
        fix_checksum(frame)
        verdict, _, sent = box.plane.packet("outside", bytes(frame), box.now_ms)
        assert verdict == "drop"
        answer = sent[0][2]
        assert answer[46] >> 4 == 6, "an MSS and nothing else"
        assert answer[54:58] == b"\x02\x04\x05\xb4"


def fix_checksum(frame: bytearray) -> None:
    """Make the TCP checksum of an IPv4 frame right."""
    frame[50:52] = b"\0\0"
    data = bytes(frame[26:34]) + (len(frame) - 34).to_bytes(4, "big") + bytes([0, 0, 0, 6]) + bytes(frame[34:])
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    frame[50:52] = (total ^ 0xFFFF).to_bytes(2, "big")


def test_last_of_two_counts() -> None:
    with Box() as box:
        twice: list[Option] = [("MSS", 1000), ("MSS", 1200), ("WScale", 3), ("WScale", 4)]
        talk = Talk(box, c_options=[*twice, ("Timestamp", (5, 0)), ("Timestamp", (6, 0))])
        assert talk.syn().option("Timestamp")[1] == 6
        (syn,) = talk.ack(options=stamps(8, talk.echo))
        assert told(syn)[:2] == (1200, 4)


def test_fast_open_and_multipath_fall_back() -> None:
    with Box() as box:
        talk = Talk(box, c_options=[("MSS", 1460), ("TFO", (1, 2)), (30, bytes(10))])  # type: ignore[list-item]
        assert talk.syn().names == ("MSS",)
        (syn,) = talk.ack()
        assert syn.names == ("MSS",)


def test_times_wrap() -> None:
    """Both ends' clocks pass 2^32 in mid-connection."""
    with Box() as box:
        talk = Talk(box, s_options=[("MSS", 1460), ("Timestamp", (0xFFFFFFF0, 7000))])
        talk.open()
        for step in (0, 0x0F, 0x10, 0x20, 1000):
            down = talk.server(options=stamps((0xFFFFFFF0 + step) & MASK, 1)).forwarded
            seen = (talk.echo + step) & MASK
            assert down.option("Timestamp") == (seen, 1)
            if seen:
                up = talk.client(options=stamps(2, seen)).forwarded
                assert up.option("Timestamp") == (2, (0xFFFFFFF0 + step) & MASK)


def test_more_than_64_kib_in_flight() -> None:
    with Box() as box:
        talk = Talk(box)
        talk.open()
        talk.server(window=65535)
        for at in range(0, 2_000_000, 40_000):
            up = talk.client(b"x" * 100, seq=(talk.c_next + at) & MASK).forwarded
            assert up.seq == (talk.c_next + at) & MASK
        reset = talk.client(flags="R", seq=(talk.c_next + 1_960_100) & MASK, ack=0, options=[])
        assert reset.verdict == "rewrite"
        assert box.states() == ["closed"]
