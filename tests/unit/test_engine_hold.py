"""Early data: what the client sends before the server has answered is held, in order and bounded, and delivered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from box.box import Box, Talk
from box.wire import MASK, V4, V6, Path, Seg

DATA = bytes(range(256)) * 300


@pytest.fixture
def box() -> Iterator[Box]:
    with Box() as one:
        yield one


@pytest.fixture
def talk(box: Box) -> Talk:
    one = Talk(box)
    one.syn()
    return one


def stream(talk: Talk, segments: list[Seg]) -> bytes:
    """The bytes the server has in order, after segments without a gap or an overlap."""
    at = (talk.c_isn + 1) & MASK
    data = b""
    for segment in segments:
        assert (segment.side, segment.seq, segment.ack) == ("inside", at, (talk.s_isn + 1) & MASK)
        talk.check(segment)
        data += segment.data
        at = (at + len(segment.data)) & MASK
    return data


@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("mss", [None, 100, 536, 1220, 1460, 8960])
def test_many_segments_arrive_cut_to_the_servers_size(box: Box, path: Path, mss: int | None) -> None:
    talk = Talk(box, path)
    talk.s_options = [option for option in talk.s_options if option[0] != "MSS"]
    talk.s_options += [("MSS", mss)] if mss else []
    talk.syn()
    for at in range(0, 4200, 1400):
        talk.ack(DATA[at : at + 1400], seq=(talk.c_next + at) & MASK)
    sent = talk.synack()
    assert stream(talk, sent) == DATA[:4200]
    largest = max(len(segment.data) for segment in sent)
    assert largest <= min((mss or 536) - 12, (1460 if path.family == 4 else 1440) - 12)
    assert [segment.flags for segment in sent] == ["A"] * (len(sent) - 1) + ["PA"]
    assert box.plane.occupancy()["hold_bytes_used"] == 0
    assert box.events()["held_bytes"] == 4200


def test_data_with_and_after_the_ack(talk: Talk) -> None:
    talk.ack(b"one ")
    assert talk.ack(b"two ", seq=(talk.c_next + 4) & MASK) == []
    assert talk.ack(b"three", seq=(talk.c_next + 8) & MASK) == []
    assert stream(talk, talk.synack()) == b"one two three"
    talk.c_sent = 13
    assert talk.client(b"four").forwarded.seq == talk.c_next
    assert talk.box.drops()["held"] == 3


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([(0, 4), (0, 4)], 4),  # the same again
        ([(0, 4), (2, 8)], 8),  # overlapping
        ([(0, 4), (0, 10)], 10),  # the same and more
        ([(0, 8), (2, 4)], 8),  # the middle again
        ([(4, 8), (0, 4)], 4),  # the second first: TCP repeats it
        ([(4, 8), (0, 4), (4, 8)], 8),
        ([(0, 4), (6, 8)], 4),  # a gap
    ],
)
def test_segments_in_any_order(talk: Talk, pieces: list[tuple[int, int]], expected: int) -> None:
    for first, last in pieces:
        talk.ack(DATA[first:last], seq=(talk.c_next + first) & MASK)
    assert stream(talk, talk.synack()) == DATA[:expected]


def test_fin_is_delivered_with_the_data(talk: Talk) -> None:
    talk.ack(b"all of it", flags="FPA")
    (last,) = talk.synack()
    assert (last.flags, last.data) == ("FPA", b"all of it")
    talk.c_sent = 10
    talk.server()
    talk.server(flags="FA")
    talk.s_sent = 1
    talk.client()
    assert talk.box.states() == ["closed"]


def test_fin_after_the_data_and_nothing_behind_it(talk: Talk) -> None:
    talk.ack(b"data")
    talk.ack(flags="FA", seq=(talk.c_next + 4) & MASK)
    talk.ack(b"forged", seq=(talk.c_next + 4) & MASK)
    sent = talk.synack()
    assert [(segment.flags, segment.data) for segment in sent] == [("FPA", b"data")]


def test_fin_alone(talk: Talk) -> None:
    talk.ack()
    talk.ack(flags="FA")
    (last,) = talk.synack()
    assert (last.flags, last.seq, last.data) == ("FA", talk.c_next, b"")


def test_fin_beyond_a_gap_is_not_delivered(talk: Talk) -> None:
    talk.ack(b"data")
    talk.ack(flags="FA", seq=(talk.c_next + 9) & MASK)
    assert [(segment.flags, segment.data) for segment in talk.synack()] == [("PA", b"data")]


def test_urgent_data_is_left_to_tcp(talk: Talk) -> None:
    talk.ack()
    talk.ack(b"u", flags="PAU", urgptr=1)
    assert [(segment.flags, segment.data) for segment in talk.synack()] == [("A", b"")]
    assert talk.box.drops()["hold_full"] == 1


def test_damaged_data_is_not_held(talk: Talk) -> None:
    talk.ack()
    frame = bytearray(talk.path.from_client(flags="PA", seq=talk.c_next, ack=(talk.isn + 1) & MASK, data=b"abcd"))
    frame[-1] ^= 1
    talk.box.outside(bytes(frame))
    assert talk.box.drops()["tcp_checksum"] == 1
    assert stream(talk, talk.synack()) == b""


def test_data_that_acknowledges_something_else_is_not_held(talk: Talk) -> None:
    talk.ack()
    talk.ack(b"forged", ack=talk.isn)
    assert stream(talk, talk.synack()) == b""


def test_server_gets_no_more_than_its_window(talk: Talk) -> None:
    talk.s_window = 1000
    talk.ack(DATA[:1400])
    talk.ack(flags="FA", seq=(talk.c_next + 1400) & MASK)
    sent = talk.synack()
    assert stream(talk, sent) == DATA[:1000]
    assert sent[-1].flags == "PA", "the FIN is behind data that was not delivered"
    again = talk.client(DATA[1000:1400], flags="FPA", seq=(talk.c_next + 1000) & MASK)
    assert again.forwarded.flags == "FPA"


def test_closed_window_gets_the_bare_ack(talk: Talk) -> None:
    talk.s_window = 0
    talk.ack(b"data")
    (ack,) = talk.synack()
    assert (ack.flags, ack.data, ack.seq) == ("A", b"", talk.c_next)


def test_more_than_a_flow_may_hold_is_left_to_tcp() -> None:
    with Box(hold_per_flow_bytes=3000) as box:
        talk = Talk(box)
        assert talk.syn().window == 3000
        for at in range(0, 5600, 1400):
            talk.ack(DATA[at : at + 1400], seq=(talk.c_next + at) & MASK)
        assert box.drops()["hold_full"] == 1, "of the third; what comes behind it is no longer the next"
        assert stream(talk, talk.synack()) == DATA[:3000]
        assert talk.client(DATA[2800:4200], seq=(talk.c_next + 2800) & MASK).verdict == "rewrite"


def test_challenge_counts_what_was_held_of_a_segment() -> None:
    """A client that started anew resets at the number our challenge names; both must count the same."""
    with Box(hold_per_flow_bytes=1000) as box:
        talk = Talk(box)
        talk.syn()
        talk.ack(DATA[:1400])
        (challenge,) = talk.client(flags="S", seq=1, ack=0, options=[]).sent
        assert challenge.ack == (talk.c_next + 1000) & MASK
        talk.client(flags="R", seq=challenge.ack, ack=0, options=[])
        assert box.states() == []


def test_more_than_all_may_hold_is_left_to_tcp() -> None:
    with Box(hold_total_bytes=4096) as box:
        talks = [Talk(box, V4.other(number)) for number in range(3)]
        for talk in talks:
            talk.syn()
            talk.ack(DATA[:1400])
        assert box.plane.occupancy()["hold_bytes_used"] == box.plane.occupancy()["hold_bytes_capacity"] == 4096
        assert [stream(talk, talk.synack()) for talk in talks] == [DATA[:1400], DATA[:1400], b""]
        assert box.plane.occupancy()["hold_bytes_used"] == 0
        assert talks[2].client(DATA[:1400]).verdict == "rewrite"


@pytest.mark.parametrize(("per_flow_bytes", "total_bytes"), [(0, 1 << 20), (32768, 0)])
def test_holding_can_be_turned_off(per_flow_bytes: int, total_bytes: int) -> None:
    with Box(hold_per_flow_bytes=per_flow_bytes, hold_total_bytes=total_bytes) as box:
        talk = Talk(box)
        talk.syn()
        talk.ack(b"data")
        assert stream(talk, talk.synack()) == b""
        assert box.drops()["hold_full"] == 1


def test_small_segments_share_their_blocks() -> None:
    with Box(hold_total_bytes=4096, hold_per_flow_bytes=4096) as box:
        talk = Talk(box)
        talk.syn()
        for at in range(40):
            talk.ack(b"x", seq=(talk.c_next + at) & MASK)
        assert box.plane.occupancy()["hold_bytes_used"] == 2048


def test_most_packets_at_once_stay_within_the_output() -> None:
    """A server with a tiny MSS: what does not go out at once is the client's to send again."""
    with Box(hold_per_flow_bytes=65535) as box:
        talk = Talk(box, s_options=[("MSS", 64)], c_options=[("MSS", 1460)])
        talk.syn()
        for at in range(0, 14000, 1400):
            talk.ack(DATA[at : at + 1400], seq=(talk.c_next + at) & MASK)
        sent = talk.synack()
        assert 50 <= len(sent) <= 64
        assert stream(talk, sent) == DATA[: 64 * len(sent)]
