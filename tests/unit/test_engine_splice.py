"""Open connections: every number that is translated, who may close one, and what is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from box.box import BLIND, BRIDGE, FULL, SERVER_ISN, Box, Talk, service, stamps
from box.wire import CLIENT_MAC, MASK, PATHS, SERVER_MAC, V4, V6, Path, segment

WAYS = [pytest.param(BRIDGE, path, id=f"bridge, {name}") for name, path in PATHS.items()]
WAYS += [pytest.param(BLIND, path, id=f"without MACs, {name}") for name, path in PATHS.items() if not path.tags]


@pytest.fixture
def box() -> Iterator[Box]:
    with Box() as one:
        yield one


@pytest.fixture
def talk(box: Box) -> Talk:
    one = Talk(box)
    one.open()
    return one


@pytest.mark.parametrize(("layers", "path"), WAYS)
def test_numbers_are_translated_both_ways(layers: tuple[str, str], path: Path) -> None:
    with Box(layers=layers) as box:
        talk = Talk(box, path)
        talk.open()
        down = talk.server(b"world", window=2000, options=stamps(950, 7000)).forwarded
        assert (down.seq, down.ack, down.data) == (talk.s_next_told, talk.c_next, b"world")
        assert down.option("Timestamp") == (talk.echo + 50, 7000)
        assert down.window == 2000 << 5 >> 7
        assert (down.macs, down.tags, down.ttl) == ((SERVER_MAC, CLIENT_MAC), path.tags, path.ttl)
        talk.s_sent = 5
        talk.echo += 50
        up = talk.client(b"hello", options=stamps(7010, talk.echo)).forwarded
        assert (up.seq, up.ack, up.data, up.window) == (talk.c_next, talk.s_next, b"hello", 500)
        assert up.option("Timestamp") == (7010, 950)
        assert (up.macs, up.tags, up.ttl) == ((CLIENT_MAC, SERVER_MAC), path.tags, path.ttl)
        assert box.events()["translated"] == 2


@pytest.mark.parametrize("odd", [0, 1, 2, 3])
def test_options_at_any_offset_are_translated(talk: Talk, odd: int) -> None:
    blocks = (talk.s_next_told + 100, talk.s_next_told + 200)
    pad = [("NOP", None)] * odd
    options = [*pad, ("SAck", tuple(b & MASK for b in blocks)), ("Timestamp", (7010, (talk.echo + 5) & MASK))]
    up = talk.client(options=options).forwarded
    assert up.option("SAck") == ((talk.s_next + 100) & MASK, (talk.s_next + 200) & MASK)
    assert up.option("Timestamp") == (7010, 905)


def test_four_sack_blocks_are_translated_and_those_of_the_server_are_not(talk: Talk) -> None:
    told = [(talk.s_next_told + 10 * n) & MASK for n in range(8)]
    real = tuple((talk.s_next + 10 * n) & MASK for n in range(8))
    up = talk.client(options=[("NOP", None), ("NOP", None), ("SAck", tuple(told))]).forwarded
    assert up.option("SAck") == real
    own = ((talk.c_next + 10) & MASK, (talk.c_next + 20) & MASK)
    assert talk.server(options=[("NOP", None), ("NOP", None), ("SAck", own)]).forwarded.option("SAck") == own


@pytest.mark.parametrize("sack", [True, False])
@pytest.mark.parametrize("times", [True, False])
def test_options_the_server_did_not_agree_to_are_taken_out(box: Box, sack: bool, times: bool) -> None:
    answer = [("MSS", 1460)] + [("SAckOK", b"")] * sack + [("Timestamp", (900, 7000))] * times
    talk = Talk(box, s_options=answer)
    talk.open()
    edges = (talk.s_next_told + 10 & MASK, talk.s_next_told + 20 & MASK)
    options = [*stamps(7010, talk.echo), ("NOP", None), ("NOP", None), ("SAck", edges)]
    up = talk.client(options=options).forwarded
    assert up.names == ("Timestamp",) * times + ("SAck",) * sack
    assert up.ack == talk.s_next


@pytest.mark.parametrize("told", [None, 0, 3, 7, 14])
@pytest.mark.parametrize("real", [None, 0, 3, 7, 14])
@pytest.mark.parametrize("client", [None, 0, 9])
def test_windows_mean_the_same_after_a_wrong_guess(told: int | None, real: int | None, client: int | None) -> None:
    with Box(service(wscale=told)) as box:
        talk = Talk(
            box,
            c_options=[("MSS", 1400)] + ([] if client is None else [("WScale", client)]),
            s_options=[("MSS", 1460)] + ([] if real is None or client is None else [("WScale", real)]),
        )
        answer = talk.syn()
        (syn,) = talk.ack()
        talk.synack()
        told_scale = answer.option("WScale")
        assert told_scale == (None if client is None else told)
        server_scale = real or 0 if syn.option("WScale") is not None else 0
        client_scale = client or 0 if told_scale is not None else 0
        for window in (0, 1, 77, 500, 65535):
            down = talk.server(window=window).forwarded.window
            _same_window(window << server_scale, down, told_scale or 0)
            up = talk.client(window=window).forwarded.window
            told_server = (syn.option("WScale") or 0) if real is not None and client is not None else 0
            _same_window(window << client_scale, up, told_server)


def _same_window(meant: int, field: int, scale: int) -> None:
    """Rounded down to what the field can say, and never to nothing."""
    assert field == (min(max(meant >> scale, 1), 65535) if meant else 0)


def test_urgent_data_passes_as_it_is(talk: Talk) -> None:
    result = talk.client(b"u", flags="PAU", urgptr=1)
    assert result.forwarded.flags == "PAU"
    assert result.frame[14 + 20 + 18 :][:2] == b"\0\1"


def test_damaged_packet_stays_damaged(talk: Talk) -> None:
    frame = bytearray(talk.path.from_server(seq=talk.s_next, ack=talk.c_next, data=b"data"))
    frame[-1] ^= 1
    result = talk.box.inside(bytes(frame))
    with pytest.raises(AssertionError, match="transport checksum"):
        segment("", "forward", result.frame)


def test_ethernet_padding_is_not_data(talk: Talk) -> None:
    result = talk.box.inside(talk.path.from_server(seq=talk.s_next, ack=talk.c_next) + bytes(6))
    assert segment("", "forward", result.frame[:-6]).data == b""


# -- SYN in an open connection


def test_syn_in_an_open_connection_is_challenged(talk: Talk) -> None:
    talk.server(b"12345")
    talk.s_sent = 5
    (challenge,) = talk.client(flags="S", seq=4711, ack=0, options=FULL).sent
    talk.check(challenge)
    assert (challenge.flags, challenge.seq, challenge.ack) == ("A", talk.s_next_told, talk.c_next)
    assert talk.box.states() == ["established"]
    assert talk.box.drops()["syn_in_flow"] == 1


def test_client_that_started_anew_gets_its_connection(talk: Talk) -> None:
    (challenge,) = talk.client(flags="S", seq=4711, ack=0, options=FULL).sent
    reset = talk.client(flags="R", seq=challenge.ack, ack=0, options=[])
    assert (reset.verdict, reset.forwarded.seq) == ("rewrite", talk.c_next)
    again = Talk(talk.box, c_isn=4711, s_isn=99)
    again.open()
    assert talk.box.states() == ["established"]
    assert again.server(b"x").forwarded.seq == again.s_next_told


def test_challenges_are_bounded_a_second(talk: Talk) -> None:
    frame = talk.path.from_client(flags="S", seq=1)
    answered = sum(len(talk.box.plane.packet("outside", frame, talk.box.now_ms)[2]) for _ in range(3000))
    assert answered == 1000
    talk.box.now_ms += 1000
    assert len(talk.box.outside(frame).sent) == 1


@pytest.mark.parametrize("flags", ["SA", "SAE"])
def test_syn_ack_from_outside_goes_nowhere(talk: Talk, flags: str) -> None:
    result = talk.client(flags=flags)
    assert (result.verdict, result.sent) == ("drop", [])


# -- RST


def test_reset_of_the_client_closes_at_its_exact_place(talk: Talk) -> None:
    assert talk.client(flags="RA").forwarded.ack == talk.s_next
    assert talk.box.states() == ["closed"]


def test_reset_in_the_window_is_the_servers_to_judge(talk: Talk) -> None:
    inexact = (talk.c_next + 1000) & MASK
    assert talk.client(flags="R", seq=inexact, ack=0, options=[]).forwarded.seq == inexact
    assert talk.box.states() == ["established"]
    challenge = talk.server().forwarded
    assert challenge.ack == talk.c_next
    talk.client(flags="R", seq=challenge.ack, ack=0, options=[])
    assert talk.box.states() == ["closed"]


@pytest.mark.parametrize("seq", [-1, -70000, 2_100_000, 1 << 31])
def test_reset_outside_the_window_is_dropped(talk: Talk, seq: int) -> None:
    result = talk.client(flags="R", seq=(talk.c_next + seq) & MASK, ack=0, options=[])
    assert (result.verdict, talk.box.states()) == ("drop", ["established"])
    assert talk.box.drops()["rst_invalid"] == 1


def test_reset_of_the_server_reaches_the_client_in_its_numbers(talk: Talk) -> None:
    down = talk.server(flags="R", ack=0, window=0).forwarded
    assert (down.flags, down.seq) == ("R", talk.s_next_told)
    assert talk.box.states() == ["closed"]


def test_connection_goes_on_when_the_server_did_not_believe_a_reset(talk: Talk) -> None:
    """A forger who hit our idea of the next number, not the server's."""
    talk.client(b"lost on the way to the server")
    talk.client(flags="R", seq=(talk.c_next + 29) & MASK, ack=0, options=[])
    assert talk.box.states() == ["closed"]
    assert talk.server().forwarded.ack == talk.c_next
    assert talk.box.states() == ["established"]
    assert talk.client(b"lost on the way to the server").verdict == "rewrite"


def test_data_in_flight_does_not_keep_a_reset_connection_for_hours(talk: Talk) -> None:
    talk.client(flags="RA")
    talk.server(b"was on its way")
    talk.box.pass_seconds(300)
    assert talk.box.states() == []


def test_connection_that_survived_a_forged_reset_is_kept_like_any_other(talk: Talk) -> None:
    talk.client(flags="R", ack=0, options=[])
    talk.server()
    talk.client(b"alive")
    talk.box.pass_seconds(7000)
    assert talk.box.states() == ["established"]


@pytest.mark.parametrize("seq", [1 << 20, 1 << 30, 3 << 30])
def test_blind_data_does_not_move_what_resets_are_measured_by(talk: Talk, seq: int) -> None:
    """Also not after the server's window has shrunk below what was sent already."""
    talk.s_sent = 0
    talk.server(window=60000)
    talk.client(b"", seq=(talk.c_next + 1_800_000) & MASK)
    talk.server(ack=(talk.c_next + 1000) & MASK, window=0)
    far = (talk.c_next + 1000 + seq) & MASK
    talk.client(b"forged", seq=far, options=[])
    result = talk.client(flags="R", seq=(far + 6) & MASK, ack=0, options=[])
    assert talk.box.states() == ["established"]
    assert result.verdict == "drop"


# -- closing


def test_client_closes_first(talk: Talk) -> None:
    assert talk.client(flags="FA").forwarded.flags == "FA"
    talk.c_sent += 1
    talk.server()
    assert talk.server(b"still talking").forwarded.data == b"still talking"
    talk.s_sent += 13
    talk.client()
    talk.server(flags="FA")
    assert talk.box.states() == ["established"]
    talk.s_sent += 1
    talk.client()
    assert talk.box.states() == ["closed"]


def test_server_closes_first(talk: Talk) -> None:
    talk.server(flags="FA")
    talk.s_sent += 1
    talk.client()
    talk.client(b"half closed")
    talk.c_sent += 11
    talk.server()
    talk.client(flags="FA")
    talk.c_sent += 1
    assert talk.box.states() == ["established"]
    talk.server()
    assert talk.box.states() == ["closed"]
    assert talk.box.events()["closed"] == 1


def test_both_close_at_once(talk: Talk) -> None:
    talk.client(flags="FA")
    talk.server(flags="FA")
    talk.c_sent += 1
    talk.s_sent += 1
    talk.server()
    talk.client()
    assert talk.box.states() == ["closed"]


def test_late_packets_of_a_closed_connection_are_still_translated(talk: Talk) -> None:
    test_both_close_at_once(talk)
    down = talk.server(flags="FA", seq=(talk.s_next - 1) & MASK).forwarded
    assert down.seq == (talk.s_next_told - 1) & MASK
    assert talk.client().forwarded.ack == talk.s_next


def test_ports_are_used_again_over_time_wait(talk: Talk) -> None:
    test_both_close_at_once(talk)
    again = Talk(talk.box, c_isn=50_000, s_isn=SERVER_ISN + 1_000_000)
    again.open(b"new")
    assert talk.box.states() == ["established"]
    down = again.server(b"x").forwarded
    assert (down.seq, down.ack) == (again.s_next_told, again.c_next)


def test_ports_are_used_again_with_the_cookie_alone() -> None:
    with Box(half_open=4) as box:
        talk = Talk(box)
        talk.open()
        test_both_close_at_once(talk)
        again = Talk(box, c_isn=50_000, s_isn=99)
        again.syn()
        again.flood()
        (syn,) = again.ack()
        assert (syn.flags, syn.seq) == ("S", 50_000)


def test_server_connects_from_the_ports_of_a_closed_connection(talk: Talk) -> None:
    test_both_close_at_once(talk)
    assert talk.server(flags="S", seq=1, ack=0).verdict == "pass"
    assert talk.client(flags="SA", seq=5, ack=2, options=[]).verdict == "pass"
    assert talk.box.states() == ["pass"]


# -- connections that are not ours


@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
def test_connection_opened_by_the_server_passes_untouched(box: Box, path: Path) -> None:
    talk = Talk(box, path)
    assert talk.server(flags="S", seq=1, ack=0).verdict == "pass"
    assert talk.client(flags="SA", seq=5, ack=2).verdict == "pass"
    assert talk.server(seq=2, ack=6).verdict == "pass"
    assert talk.client(b"data", seq=6, ack=2).verdict == "pass"
    assert box.states() == ["pass"]
    talk.client(flags="FA", seq=10, ack=2)
    talk.server(flags="FA", seq=2, ack=11)
    assert box.states() == ["pass_closed"]
    assert talk.client(seq=11, ack=3).verdict == "pass"
    Talk(box, path).open()
    assert box.states() == ["established"]


def test_connection_older_than_the_box_goes_on_once_the_server_speaks(box: Box) -> None:
    talk = Talk(box)
    assert talk.client(b"x", seq=5, ack=6).verdict == "drop"
    assert talk.server(b"y", seq=6, ack=5).verdict == "pass"
    assert talk.client(b"x", seq=5, ack=7).verdict == "pass"


def test_server_uses_its_port_again(box: Box) -> None:
    talk = Talk(box)
    talk.server(flags="S", seq=1, ack=0)
    talk.server(flags="R", seq=2, ack=0)
    assert box.states() == ["pass_closed"]
    assert talk.server(flags="S", seq=900, ack=0).verdict == "pass"
    assert box.states() == ["pass"]


@pytest.mark.parametrize(
    ("flags", "seq", "ack", "state"),
    [
        ("RA", 0, 2, "pass_closed"),  # nobody listens there
        ("R", 2, 0, "pass"),  # no number the server has named
        ("RA", 0, 77, "pass"),
    ],
)
def test_refusal_of_a_servers_connection_ends_what_is_known_of_it(
    box: Box, flags: str, seq: int, ack: int, state: str
) -> None:
    talk = Talk(box)
    talk.server(flags="S", seq=1, ack=0)
    assert talk.client(flags=flags, seq=seq, ack=ack).verdict == "pass"
    assert box.states() == [state]


def test_reset_of_a_servers_connection_ends_what_is_known_of_it(box: Box) -> None:
    talk = Talk(box)
    talk.server(flags="S", seq=1, ack=0)
    talk.client(flags="SA", seq=5, ack=2)
    talk.server(seq=2, ack=6)
    talk.client(flags="R", seq=99, ack=0)
    assert box.states() == ["pass"]
    talk.client(flags="R", seq=6, ack=0)
    assert box.states() == ["pass_closed"]


def test_reset_of_nobody_leaves_nothing_behind(box: Box) -> None:
    talk = Talk(box)
    assert talk.server(flags="R").verdict == "pass"
    assert box.states() == []
