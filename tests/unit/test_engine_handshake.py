"""Both handshakes: what the client is answered, what the server is asked, and what either hears when it goes wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from box.box import ANSWER, BLIND, BRIDGE, CLIENT_ISN, FULL, ROUTED, SERVER_ISN, Box, Talk, service
from box.wire import MASK, PATHS, V4, V6, Path

WAYS = [pytest.param(BRIDGE, path, id=f"bridge, {name}") for name, path in PATHS.items()]
WAYS += [pytest.param(ROUTED, path, id=f"routed, {name}") for name, path in PATHS.items() if not path.tags]
WAYS += [pytest.param(BLIND, path, id=f"without MACs, {name}") for name, path in PATHS.items() if not path.tags]


@pytest.fixture
def box() -> Iterator[Box]:
    with Box() as one:
        yield one


@pytest.mark.parametrize(("layers", "path"), WAYS)
def test_connection_opens_with_no_packet_more_than_needed(layers: tuple[str, str], path: Path) -> None:
    with Box(layers=layers) as box:
        talk = Talk(box, path)
        answer = talk.syn()
        assert answer.names == ("MSS", "SAckOK", "Timestamp", "WScale")
        assert answer.option("MSS") == (1460 if path.family == 4 else 1440)
        assert answer.option("WScale") == 7
        assert answer.option("Timestamp")[1] == 7000
        assert answer.window == 32768

        talk.tsval += 30
        (syn,) = talk.ack(b"GET /")
        talk.check(syn)
        assert (syn.side, syn.flags, syn.seq, syn.ack) == ("inside", "S", CLIENT_ISN, 0)
        assert syn.window == 64240
        assert dict(syn.options) == {"MSS": 1400, "SAckOK": b"", "Timestamp": (7030, 0), "WScale": 9}

        talk.c_sent = 5
        (ack,) = talk.synack()
        talk.check(ack)
        assert (ack.side, ack.flags, ack.data) == ("inside", "PA", b"GET /")
        assert (ack.seq, ack.ack) == ((CLIENT_ISN + 1) & MASK, (SERVER_ISN + 1) & MASK)
        assert ack.window == 500
        assert ack.options == (("Timestamp", (7030, 900)),)
        assert box.states() == ["established"]
        events = box.events()
        assert (events["syn_received"], events["cookie_valid"], events["opened"], events["held_bytes"]) == (1, 1, 1, 5)


@pytest.mark.parametrize("option", [[], [("MSS", 536)], [("MSS", 1460), ("SAckOK", b"")], [("WScale", 0)], FULL])
@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
def test_server_is_asked_for_what_the_client_offered(box: Box, path: Path, option: list[tuple[str, object]]) -> None:
    talk = Talk(box, path, c_options=option)
    answer = talk.syn()
    (syn,) = talk.ack()
    wanted = {name: value for name, value in option if name != "NOP"}
    assert set(answer.names) == {"MSS"} | set(wanted)
    assert set(syn.names) == set(wanted)
    assert {name: syn.option(name) for name in ("MSS", "WScale") if name in wanted} == {
        name: value for name, value in wanted.items() if name in ("MSS", "WScale")
    }
    assert box.plane.flows(1)[0]["state"] == "syn_sent"


@pytest.mark.parametrize(
    ("mss", "wscale", "rounded"),
    [(536, 0, 536), (1452, 7, 1440), (1460, 14, 1460), (8960, 3, 8960), (1300, 9, 1220), (100, 1, 216)],
)
def test_cookie_alone_suffices(mss: int, wscale: int, rounded: int) -> None:
    with Box(half_open=4) as box:
        offer = [("MSS", mss), ("SAckOK", b""), ("Timestamp", (7000, 0)), ("WScale", wscale)]
        talk = Talk(box, c_options=offer)
        talk.syn()
        talk.flood()
        (syn,) = talk.ack(window=3)
        assert dict(syn.options) == {"MSS": rounded, "SAckOK": b"", "Timestamp": (7000, 0), "WScale": wscale}
        assert syn.window == min(3 << wscale, 65535)


@pytest.mark.parametrize(
    ("wscale", "rounded"), [(None, None), (0, 0), (1, 0), (2, 2), (5, 4), (9, 8), (10, 10), (14, 10)]
)
def test_cookie_alone_rounds_the_scale_of_a_client_without_timestamps_down(
    wscale: int | None, rounded: int | None
) -> None:
    with Box(half_open=4) as box:
        talk = Talk(box, c_options=[("MSS", 1460)] + ([] if wscale is None else [("WScale", wscale)]))
        talk.syn()
        talk.flood()
        (syn,) = talk.ack()
        assert syn.option("WScale") == rounded
        assert syn.names == (("MSS",) if rounded is None else ("MSS", "WScale"))


@pytest.mark.parametrize("wscale", [*range(15), None])
def test_low_bits_of_our_timestamp_carry_the_exact_scale(box: Box, wscale: int | None) -> None:
    offer = [("Timestamp", (7000, 0))] + ([] if wscale is None else [("WScale", wscale)])
    answer = Talk(box, c_options=offer).syn()
    assert answer.option("Timestamp")[0] & 0x1F == (15 if wscale is None else wscale)


def test_same_syn_again_has_the_same_answer(box: Box) -> None:
    talk = Talk(box)
    first = talk.syn()
    box.now_ms += 3000
    assert talk.syn() == first


def test_syn_with_another_number_has_another_cookie(box: Box) -> None:
    talk = Talk(box)
    first = talk.syn()
    talk.c_isn = 5
    assert talk.syn().seq != first.seq
    assert len(talk.ack()) == 1


def test_syn_ack_is_sent_again_three_times(box: Box) -> None:
    talk = Talk(box)
    first = talk.syn()
    start = box.now_ms
    times = []
    for _ in range(1200):
        for again in box.wait(10):
            assert again == first
            times.append(box.now_ms - start)
    assert [round(time, -3) for time in times] == [1000, 3000, 7000]
    assert all(time % 1000 <= 260 for time in times)
    assert box.events()["cookie_retrans"] == 3


def test_syn_ack_is_not_sent_again_to_who_answered(box: Box) -> None:
    talk = Talk(box)
    talk.open()
    assert box.wait(8000) == []


def test_reset_of_a_client_that_did_not_ask_ends_the_repeating(box: Box) -> None:
    talk = Talk(box)
    talk.syn()
    result = talk.client(flags="R", seq=(talk.isn + 1) & MASK, options=[], ack=0)
    assert (result.verdict, result.sent) == ("drop", [])
    assert len(box.wait(1500)) == 1, "a wrong number ends nothing"
    talk.client(flags="R", seq=(talk.c_isn + 1) & MASK, options=[], ack=0)
    assert box.wait(8000) == []


def test_silent_server_is_asked_four_times_then_the_client_is_told(box: Box) -> None:
    talk = Talk(box)
    talk.syn()
    (syn,) = talk.ack(b"early")
    seen = []
    start = box.now_ms
    for _ in range(1200):
        seen += [(box.now_ms - start, one) for one in box.wait(10)]
    assert [time for time, _ in seen] == [1000, 3000, 7000, 11000]
    assert [one for _, one in seen[:3]] == [syn] * 3
    reset = seen[3][1]
    talk.check(reset)
    assert (reset.flags, reset.seq, reset.ack) == ("RA", (talk.isn + 1) & MASK, (CLIENT_ISN + 1) & MASK)
    assert box.states() == []
    assert box.plane.occupancy()["hold_bytes_used"] == 0
    assert (box.events()["timed_out"], box.events()["server_syn_retrans"]) == (1, 3)


def test_repeated_syn_to_the_server_is_not_new_to_it(box: Box) -> None:
    talk = Talk(box)
    talk.syn()
    (syn,) = talk.ack()
    (again,) = box.wait(1000)
    assert (again.seq, again.options) == (syn.seq, syn.options)
    talk.synack()
    assert box.wait(11000) == []


@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
def test_refusal_reaches_the_client_with_the_number_it_expects(box: Box, path: Path) -> None:
    talk = Talk(box, path)
    talk.syn()
    talk.ack(b"data")
    result = talk.server(flags="RA", seq=0, ack=talk.c_next, window=0)
    (reset,) = result.sent
    talk.check(reset)
    assert (reset.side, reset.flags) == ("outside", "RA")
    assert (reset.seq, reset.ack) == ((talk.isn + 1) & MASK, talk.c_next)
    assert (box.states(), box.events()["refused"]) == ([], 1)
    assert box.plane.occupancy()["hold_bytes_used"] == 0


@pytest.mark.parametrize(("flags", "ack"), [("RA", 5), ("R", 0)])
def test_refusal_of_something_else_is_ignored(box: Box, flags: str, ack: int) -> None:
    talk = Talk(box)
    talk.syn()
    talk.ack()
    result = talk.server(flags=flags, seq=0, ack=ack)
    assert (result.verdict, result.sent, box.states()) == ("drop", [], ["syn_sent"])
    assert box.drops()["rst_invalid"] == 1


def test_late_answer_of_a_server_we_gave_up_on_is_reset(box: Box) -> None:
    talk = Talk(box)
    talk.syn()
    talk.ack()
    box.wait(12000)
    (reset,) = talk.synack()
    assert (reset.side, reset.flags, reset.seq, reset.ack) == ("inside", "R", talk.c_next, 0)
    assert (reset.src, reset.dst) == (V4.client, V4.server)
    assert box.drops()["server_unexpected"] == 1


def test_server_with_an_older_connection_is_reset_and_asked_again(box: Box) -> None:
    """RFC 9293 3.10.7.3: the server answers our SYN with an ACK of its own; RST, and the next SYN finds it free."""
    talk = Talk(box)
    talk.syn()
    talk.ack()
    (reset,) = talk.server(ack=12345).sent
    assert (reset.side, reset.flags, reset.seq) == ("inside", "R", 12345)
    assert [one.flags for one in box.wait(1000)] == ["S"]
    assert [one.flags for one in talk.synack()] == ["A"]


def test_server_that_repeats_its_answer_gets_the_ack_again(box: Box) -> None:
    talk = Talk(box)
    (first,) = talk.open()
    box.now_ms += 1000
    (again,) = talk.synack(options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1900, 7000)), ("WScale", 5)])
    assert (again.flags, again.seq, again.ack, again.window) == ("A", first.seq, first.ack, first.window)
    assert again.option("Timestamp") == (7000, 1900)
    assert box.drops()["server_handshake"] == 2


def test_syn_ack_for_another_connection_is_not_acknowledged(box: Box) -> None:
    talk = Talk(box)
    talk.open()
    result = talk.synack(seq=99)
    assert result == []
    assert box.drops()["server_unexpected"] == 1


def test_client_that_gives_up_takes_the_server_along(box: Box) -> None:
    talk = Talk(box)
    talk.syn()
    talk.ack(b"data")
    assert talk.client(flags="R", seq=77, options=[]).sent == []
    (reset,) = talk.client(flags="R", seq=(talk.c_next + 4) & MASK, options=[]).sent
    assert (reset.side, reset.flags, reset.seq) == ("inside", "R", talk.c_next)
    assert (box.states(), box.drops()["rst_invalid"]) == ([], 1)


def test_new_syn_of_the_client_before_the_server_answered_is_challenged(box: Box) -> None:
    talk = Talk(box)
    talk.syn()
    talk.ack(b"data")
    (challenge,) = talk.client(flags="S", seq=500, ack=0, options=[]).sent
    talk.check(challenge)
    assert (challenge.flags, challenge.seq) == ("A", (talk.isn + 1) & MASK)
    assert challenge.ack == (talk.c_next + 4) & MASK
    talk.client(flags="R", seq=challenge.ack, ack=0, options=[])
    assert box.states() == []
    again = Talk(box, c_isn=500)
    assert again.open() != []


def test_zero_window_is_opened_when_the_server_has_answered() -> None:
    with Box(service(window_zero=True)) as box:
        talk = Talk(box)
        assert talk.syn().window == 0
        talk.ack()
        ack, opening = talk.synack()
        assert (ack.side, opening.side, opening.flags) == ("inside", "outside", "A")
        assert (opening.seq, opening.ack) == (talk.s_next_told, talk.c_next)
        assert opening.window == 64000 >> 7
        assert opening.option("Timestamp") == (talk.echo, 7000)


def test_small_window_of_a_server_is_not_announced_as_closed() -> None:
    """A window below one unit of the server's own scale: the client would wait for a probe."""
    with Box(service(window_zero=True)) as box:
        talk = Talk(box, s_window=20)
        talk.syn()
        talk.ack()
        update = talk.synack()[-1]
        assert (update.side, update.flags) == ("outside", "A")
        assert update.window > 0


def test_final_ack_that_was_lost_is_made_up_for_by_data(box: Box) -> None:
    talk = Talk(box)
    talk.syn()
    (syn,) = talk.client(b"later", seq=(talk.c_next + 100) & MASK).sent
    assert (syn.flags, syn.seq) == ("S", CLIENT_ISN)


@pytest.mark.parametrize("data", [b"", b"x"])
def test_keep_alive_as_the_first_packet_completes_the_handshake(box: Box, data: bytes) -> None:
    talk = Talk(box)
    talk.syn()
    (syn,) = talk.client(data, seq=CLIENT_ISN).sent
    assert (syn.flags, syn.seq) == ("S", CLIENT_ISN)
    (ack,) = talk.synack()
    assert (ack.data, ack.seq) == (b"", talk.c_next)


def test_client_without_the_timestamps_it_offered_is_taken_at_its_word(box: Box) -> None:
    talk = Talk(box)
    talk.syn()
    (syn,) = talk.client(options=[]).sent
    assert syn.names == ("MSS", "SAckOK", "WScale")


def test_timestamp_to_the_server_is_the_latest(box: Box) -> None:
    talk = Talk(box)
    talk.syn()
    talk.ack()
    talk.tsval += 50
    talk.ack()
    (again,) = box.wait(1000)
    assert again.option("Timestamp") == (7050, 0)
    (ack,) = talk.synack(options=ANSWER)
    assert ack.option("Timestamp") == (7050, 900)


def test_ecn_is_offered_to_the_server_only_after_the_client(box: Box) -> None:
    talk = Talk(box)
    assert talk.syn().flags == "SA"
    (syn,) = talk.ack()
    assert syn.flags == "S"
