"""`protect: auto`: connections pass and are watched; over the limit new ones are proxied; no switch disturbs any."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from box.box import FULL, Box, Talk, service, stamps
from box.direct import Direct
from box.wire import MASK, PATHS, V4, V6, Option, Path, Seg, fragments
from scapy.packet import Raw

MOST = 6  # SYNs a second
SHORT: list[Option] = [("MSS", 1460)]


@pytest.fixture
def box() -> Iterator[Box]:
    with Box(service(auto=True, most_syns_per_s=MOST)) as one:
        yield one


def on(box: Box, name: str = "web", *, protect: bool = True) -> None:
    box.plane.set_guard(name, protect)
    assert box.plane.guards()[name] is protect


def announced(seg: Seg) -> dict[str, object]:
    return {name: seg.option(name) for name in ("MSS", "WScale") if name in seg.names}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_watched_connection_passes_untouched_and_is_known(box: Box, path: Path) -> None:
    one = Direct(box, path)
    one.open()
    assert box.states() == ["pass"]
    assert (one.client(b"hello"), one.server(b"world")) == ("pass", "pass")
    events = box.events()
    assert (events["syn_received"], events["watched"], events["watched_done"]) == (1, 1, 1)
    assert "synack_sent" not in events


@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
def test_servers_are_learned_while_they_are_watched(box: Box, path: Path) -> None:
    Direct(box, path).open()
    (one,) = box.plane.backends()
    assert (one["mss"], one["wscale"], one["sack"], one["timestamps"]) == (1460, 5, True, True)
    assert set(one["known"]) == {"wscale", "sack", "timestamps"}
    on(box)
    answer = Talk(box, path.other(9)).syn()
    assert announced(answer) == {"MSS": 1460, "WScale": 5}


def test_what_a_server_did_not_agree_to_is_learned_too(box: Box) -> None:
    Direct(box, answer=SHORT).open()
    (one,) = box.plane.backends()
    assert (one["wscale"], one["sack"], one["timestamps"]) == (None, False, False)
    assert set(one["known"]) == {"wscale", "sack", "timestamps"}


def test_of_a_syn_ack_whose_syn_was_not_seen_only_what_is_there_is_learned(box: Box) -> None:
    Direct(box, answer=[("MSS", 1400), ("WScale", 3)]).synack()
    (one,) = box.plane.backends()
    assert (one["mss"], one["wscale"], one["known"]) == (1400, 3, ("wscale",))


def test_only_the_proof_of_a_server_s_answer_makes_a_connection_known(box: Box) -> None:
    one = Direct(box)
    assert one.syn() == "pass"
    assert one.client() == "pass"  # forged: the server has not answered
    assert one.synack() == "pass"
    assert one.client(ack=one.s_isn) == "pass"
    assert one.client(ack=one.s_isn + 2) == "pass"
    assert one.client(seq=one.c_isn - 5) == "pass"
    assert one.client(flags="R") == "pass"
    assert box.states() == []


def test_a_server_s_challenge_of_a_second_syn_makes_nothing_known(box: Box) -> None:
    """The server asks a client that it has half a connection with; a forged client has nothing to answer."""
    one = Direct(box)
    assert (one.syn(), one.synack()) == ("pass", "pass")
    challenge = (one.c_isn + 1) & MASK
    one.c_isn = (one.c_isn + 77777) & MASK
    assert (one.syn(), one.server(ack=challenge)) == ("pass", "pass")
    assert box.states() == []
    on(box)
    assert (one.client(), one.client(b"forged")) == ("drop", "drop")


def test_a_client_s_data_proves_it_when_its_ack_was_lost(box: Box) -> None:
    one = Direct(box)
    one.syn()
    one.synack()
    assert one.client(b"late", seq=(one.c_isn + 1 + 500) & MASK) == "pass"
    assert box.states() == ["pass"]


def test_a_second_with_too_many_syns_turns_protection_on(box: Box) -> None:
    verdicts = [box.outside(frame).verdict for frame in V4.syns(MOST + 3)]
    assert verdicts == ["pass"] * MOST + ["drop"] * 3
    assert box.plane.guards() == {"web": True}
    assert box.events()["synack_sent"] == 3
    assert box.drops() == {"syn_answered": 3}


def test_as_many_syns_in_more_time_do_not(box: Box) -> None:
    for frame in V4.syns(4 * MOST):
        assert box.outside(frame).verdict == "pass"
        box.now_ms += 1000 // MOST + 1
    assert box.plane.guards() == {"web": False}


def test_syns_fill_no_table() -> None:
    with Box(service(auto=True, most_syns_per_s=10_000), flows=8) as small:
        for number, frame in enumerate(V4.syns(2000)):
            small.outside(frame)
            Direct(small, V4.other(number)).synack()
        assert small.states() == []
        assert small.plane.occupancy()["half_open_used"] <= 64
        Direct(small, V6).open()
        assert small.states() == ["pass"]


def test_known_connections_go_on_when_protection_begins_and_nothing_forged_does(box: Box) -> None:
    one = Direct(box)
    one.open()
    on(box)
    assert (one.client(b"more"), one.server(b"still")) == ("pass", "pass")
    assert (one.client(flags="FA"), one.server(flags="FA"), one.client()) == ("pass",) * 3
    box.outlast_cookies()
    forged = Direct(box, V4.other(77))
    assert forged.client(b"GET /") == "drop"
    assert forged.client(flags="FA") == "drop"
    assert forged.client(flags="R") == "drop"
    assert set(box.drops()) == {"ack_no_cookie_out", "no_flow"}


def test_a_connection_older_than_the_box_is_known_by_what_its_server_says(box: Box) -> None:
    old, silent = Direct(box, V4.other(1)), Direct(box, V4.other(2))
    assert old.server(b"tick") == "pass"
    assert silent.client(b"tock") == "pass"
    assert box.states() == ["pass"]
    on(box)
    assert old.client(b"tock") == "pass"
    assert silent.client(b"tock") == "drop"
    assert silent.server(b"tick") == "pass"
    assert silent.client(b"tock") == "pass"


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_client_that_started_anew_is_challenged_by_the_box(box: Box, path: Path) -> None:
    """RFC 9293 section 3.10.7.4, for a connection that is only known: as its server would, and then a cookie."""
    one = Direct(box, path)
    one.open()
    assert one.server(b"tick") == "pass"
    on(box)
    syn = path.from_client(flags="S", seq=5, options=SHORT)
    result = box.outside(syn)
    (challenge,) = result.sent
    assert (result.verdict, challenge.side, challenge.flags) == ("drop", "outside", "A")
    assert (challenge.seq, challenge.ack) == ((one.s_isn + 1 + len(b"tick")) & MASK, (one.c_isn + 1) & MASK)
    assert one.client(b"the old one goes on") == "pass"
    assert box.states() == ["pass"]
    assert one.client(flags="R", seq=challenge.ack, ack=0) == "pass"
    assert box.states() == ["pass_closed"]
    (answer,) = box.outside(syn).sent
    assert (answer.flags, answer.ack) == ("SA", 6)


def test_forged_syns_on_known_connections_do_not_reach_the_server(box: Box) -> None:
    """Also where what the server said made the connection known, and its client never spoke."""
    known = [Direct(box, V4.other(number)) for number in range(3)]
    known[0].open()
    assert known[1].server(b"tick") == "pass"
    assert known[2].server() == "pass"
    on(box)
    for one in known:
        one.c_isn = (one.c_isn + 77777) & MASK
        assert one.syn() == "drop"
    assert box.drops() == {"syn_in_flow": 3}


def test_a_syn_repeated_before_its_client_has_confirmed_passes(box: Box) -> None:
    """The server's answer is known (it is signed, say) and was lost: it answers the same SYN again."""
    one = Direct(box)
    on(box)
    assert one.server() == "pass"
    assert one.syn() == "pass"
    assert one.client() == "pass"
    assert one.syn() == "drop"


def test_a_syn_that_crosses_the_server_s_own_passes(box: Box) -> None:
    one = Direct(box)
    on(box)
    assert box.inside(one.path.from_server(flags="S", seq=one.s_isn, options=SHORT)).verdict == "pass"
    assert one.syn() == "pass"


def test_a_known_client_may_start_anew_as_it_likes_while_it_is_only_watched(box: Box) -> None:
    one = Direct(box)
    one.open()
    one.c_isn = (one.c_isn + 77777) & MASK
    assert one.syn() == "pass"


def test_a_handshake_on_its_way_when_protection_begins_ends_as_it_began(box: Box) -> None:
    one, two = Direct(box, V4.other(1)), Direct(box, V4.other(2))
    assert (one.syn(), one.synack(), two.syn()) == ("pass",) * 3
    on(box)
    assert one.client() == "pass"
    assert (two.synack(), two.client(), two.client(b"x"), two.server(b"y")) == ("pass",) * 4
    assert box.states() == ["pass", "pass"]
    assert box.events()["watched_done"] == 2


def test_a_syn_repeated_across_the_switch_is_left_to_its_server_for_a_while(box: Box) -> None:
    one = Direct(box)
    one.syn()
    on(box)
    assert one.syn() == "drop"
    assert box.drops() == {"syn_watched": 1}
    assert one.synack() == "pass"
    box.now_ms += 3000
    talk = Talk(box)
    talk.open()  # the server has not answered for so long: a cookie, as for any
    assert box.states() == ["established"]


def test_a_late_answer_of_a_server_that_nobody_waits_for_is_reset_while_protected(box: Box) -> None:
    on(box)
    result = box.inside(V4.from_server(flags="SA", seq=5, ack=6, options=SHORT))
    assert result.verdict == "drop"
    assert [seg.flags for seg in result.sent] == ["R"]


def test_a_server_s_refusal_passes_and_ends_the_handshake(box: Box) -> None:
    one = Direct(box)
    one.syn()
    assert one.server(flags="RA", seq=0) == "pass"
    assert box.events()["watched_done"] == 1
    assert one.client() == "pass"
    assert box.states() == []


@pytest.mark.parametrize("remembered", [True, False], ids=["entry", "cookie"])
def test_a_cookie_given_before_protection_ended_is_accepted(remembered: bool) -> None:
    with Box(service(auto=True, most_syns_per_s=1000), half_open=4) as box:
        on(box)
        talk = Talk(box)
        talk.syn()
        if not remembered:
            talk.flood()
        on(box, protect=False)
        (syn,) = talk.ack()
        assert syn.flags == "S"
        talk.synack()
        assert box.states() == ["established"]
        assert talk.client(b"x").verdict == "rewrite"


def test_after_protection_has_ended(box: Box) -> None:
    on(box)
    open_one, asked = Talk(box, V4.other(1)), Talk(box, V4.other(2))
    open_one.open()
    first = asked.syn()
    on(box, protect=False)
    assert open_one.client(b"x").verdict == "rewrite"
    assert open_one.server(b"y").verdict == "rewrite"
    assert asked.syn().seq == first.seq  # its answer is out: the same again
    Direct(box, V4.other(3)).open()
    assert sorted(box.states()) == ["established", "pass"]


def test_no_syn_ack_is_sent_for_a_handshake_that_is_only_watched(box: Box) -> None:
    Direct(box).syn()
    assert box.wait(8000) == []


def test_a_connection_that_ended_gives_way_to_a_watched_one(box: Box) -> None:
    on(box)
    talk = Talk(box)
    talk.open()
    talk.server(flags="R")
    assert box.states() == ["closed"]
    on(box, protect=False)
    one = Direct(box)
    one.c_isn, one.s_isn = 1000, 2000
    one.open()
    assert box.states() == ["pass"]
    assert (one.client(b"x"), one.server(b"y")) == ("pass", "pass")


def test_fragments_and_icmp_pass_as_long_as_nothing_is_protected(box: Box) -> None:
    parts = fragments(V4, V4.client_packet(flags="A", options=FULL) / Raw(bytes(64)), 40)
    assert [box.outside(part).verdict for part in parts] == ["pass"] * len(parts)
    on(box)
    assert [box.outside(part).verdict for part in parts] == ["drop"] * len(parts)


def test_closed_connections_make_room_for_others_that_pass() -> None:
    with Box(service(auto=True, most_syns_per_s=1000), flows=16) as box:
        for number in range(8):
            one = Direct(box, V4.other(number))
            one.open()
            one.client(flags="FA")
            one.server(flags="FA")
        assert box.states() == ["pass_closed"] * 8
        Direct(box, V4.other(9)).open()
        assert len(box.states()) == 8  # half of the table: it passes without being known
        box.pass_seconds(6)
        assert len(box.states()) <= 6
        Direct(box, V4.other(10)).open()
        assert "pass" in box.states()


def test_each_service_has_a_guard_of_its_own() -> None:
    other = service("mail", ports=((25, 25),), auto=True, most_syns_per_s=MOST)
    with Box(service(auto=True, most_syns_per_s=MOST), other, service("old", ports=((22, 22),))) as box:
        for frame in V4.syns(MOST + 1):
            box.outside(frame)
        assert box.plane.guards() == {"web": True, "mail": False}
        with pytest.raises(KeyError):
            box.plane.set_guard("old", True)


def test_a_guard_keeps_its_state_over_a_reload_and_a_new_service_begins_watched() -> None:
    def auto(name: str, port: int) -> object:
        return service(name, ports=((port, port),), auto=True, most_syns_per_s=MOST)

    with Box(auto("one", 80), auto("two", 81)) as box:  # type: ignore[arg-type]  # services
        on(box, "one")
        on(box, "two")
        box.plane.set_services([auto("one", 80), auto("three", 81)])  # type: ignore[list-item]
        assert box.plane.guards() == {"one": True, "three": False}
        box.plane.set_services([auto("one", 80), auto("three", 81), auto("two", 82)])  # type: ignore[list-item]
        assert box.plane.guards() == {"one": True, "three": False, "two": False}


def test_timestamps_of_a_watched_connection_are_nobody_s_business(box: Box) -> None:
    one = Direct(box)
    one.open()
    on(box)
    assert one.client(b"x", options=stamps(1, 2)) == "pass"
