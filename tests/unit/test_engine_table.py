"""The flow table: what fits, what happens when it is full, and when a connection is forgotten."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from box.box import START_MS, Box, Talk, service
from box.wire import MASK, V4, V6


@pytest.fixture
def box() -> Iterator[Box]:
    with Box() as one:
        yield one


@pytest.mark.parametrize("capacity", [1, 3, 8])
def test_table_holds_exactly_its_capacity(capacity: int) -> None:
    with Box(flows=capacity) as box:
        talks = [Talk(box, V4.other(number)) for number in range(capacity)]
        for talk in talks:
            talk.open()
        assert box.plane.occupancy()["flows_used"] == box.plane.occupancy()["flows_capacity"] == capacity
        late = Talk(box, V4.other(99))
        late.syn()
        assert late.ack(b"data") == []
        assert (box.drops()["flow_table_full"], box.events()["opened"]) == (1, capacity)
        for talk in talks:
            assert talk.server(b"x").forwarded.seq == talk.s_next_told
        talks[0].server(flags="R")
        assert late.ack(b"data") == [], "it lingers for late packets"
        box.pass_seconds(11)
        assert [one.flags for one in late.ack(b"data")] == ["S"]


def test_client_that_found_it_full_is_asked_again(box: Box) -> None:
    """Its ACK is not lost for good: our SYN-ACK is repeated, and answered."""
    with Box(flows=1) as full:
        first = Talk(full, V4.other(1))
        first.open()
        late = Talk(full)
        late.syn()
        assert late.ack() == []
        first.server(flags="R")
        assert [one.flags for one in full.wait(1500)] == ["SA"]
        full.pass_seconds(12)
        assert [one.flags for one in late.ack()] == ["S"]
    assert box.states() == []


def reset(talk: Talk) -> None:
    talk.server(flags="R")


def closed(talk: Talk) -> None:
    talk.client(flags="FA")
    talk.c_sent += 1
    talk.server(flags="FA")
    talk.s_sent += 1
    talk.client()


def half_closed(talk: Talk) -> None:
    talk.client(flags="FA")


def last_ack(talk: Talk) -> None:
    talk.client(flags="FA")
    talk.server(flags="FA")


def nothing(talk: Talk) -> None:
    assert talk.box.states() == ["established"]


@pytest.mark.parametrize(
    ("ending", "idle_s"), [(nothing, 7440), (half_closed, 3600), (last_ack, 240), (closed, 60), (reset, 10)]
)
def test_silent_connection_is_forgotten_after_its_time(box: Box, ending: Callable[[Talk], None], idle_s: int) -> None:
    talk = Talk(box)
    talk.open()
    ending(talk)
    box.pass_seconds(idle_s - 6)
    assert len(box.states()) == 1
    box.pass_seconds(6)
    assert box.states() == []
    assert box.events().get("expired", 0) == (1 if ending in (nothing, half_closed, last_ack) else 0)


def test_connection_that_speaks_is_kept(box: Box) -> None:
    talk = Talk(box)
    talk.open()
    for _ in range(5):
        box.pass_seconds(7000)
        talk.client()
    assert box.states() == ["established"]


@pytest.mark.parametrize(("answered", "idle_s"), [(False, 240), (True, 7440)])
def test_connection_of_a_server_is_forgotten_after_its_time(box: Box, answered: bool, idle_s: int) -> None:
    talk = Talk(box)
    talk.server(flags="S", seq=1, ack=0)
    if answered:
        talk.client(flags="SA", seq=5, ack=2)
    box.pass_seconds(idle_s - 6)
    assert box.states() == ["pass"]
    box.pass_seconds(6)
    assert box.states() == []


def test_reset_outside_the_window_keeps_nothing_alive(box: Box) -> None:
    talk = Talk(box)
    talk.open()
    box.pass_seconds(7430)
    talk.client(flags="R", seq=(talk.c_next + 4_000_000) & MASK, ack=0, options=[])
    box.pass_seconds(20)
    assert box.states() == []


def test_closed_connections_give_way_when_it_gets_crowded() -> None:
    with Box(flows=16) as box:
        for number in range(13):
            talk = Talk(box, V4.other(number))
            talk.open()
            closed(talk)
        box.wait(3000)
        assert len(box.states()) == 13
        box.wait(5000)
        assert len(box.states()) == 12, "a quarter is free again"


def test_closed_connections_linger_while_there_is_room() -> None:
    with Box(flows=16) as box:
        for number in range(12):
            talk = Talk(box, V4.other(number))
            talk.open()
            closed(talk)
        box.wait(8000)
        assert len(box.states()) == 12


def test_connections_of_servers_take_at_most_half() -> None:
    with Box(flows=16) as box:
        for number in range(20):
            assert Talk(box, V4.other(number)).server(flags="S", seq=1, ack=0).verdict == "pass"
        assert box.states() == ["pass"] * 8
        for number in range(100, 108):
            Talk(box, V4.other(number)).open()
        assert Counter(box.states()) == {"pass": 8, "established": 8}
        for number in range(8):
            Talk(box, V4.other(number)).server(flags="R", seq=2, ack=0)
        box.pass_seconds(12)
        assert box.states() == ["established"] * 8
        for number in range(4):
            Talk(box, V4.other(number)).server(flags="S", seq=1, ack=0)
        assert Counter(box.states()) == {"pass": 4, "established": 8}


def test_half_of_the_table_is_counted_right_when_a_client_takes_over_the_ports() -> None:
    with Box(flows=8) as box:
        for _ in range(10):
            talk = Talk(box)
            talk.server(flags="S", seq=1, ack=0)
            talk.server(flags="R", seq=2, ack=0)
            again = Talk(box)
            again.open()
            again.server(flags="R")
            box.pass_seconds(12)
        for number in range(4):
            Talk(box, V4.other(number)).server(flags="S", seq=1, ack=0)
        assert box.states() == ["pass"] * 4


def test_sweep_looks_at_a_part_of_the_table_each_time() -> None:
    """No tick may take long: an expired table goes over 2 s, not at once."""
    with Box(flows=1000, half_open=1024) as box:
        for number in range(400):
            Talk(box, V4.other(number)).server(flags="S", seq=1, ack=0)
        box.now_ms += 300_000
        left = []
        for _ in range(201):
            box.now_ms += 10
            box.tick()
            left.append(len(box.states()))
        assert left[-1] == 0
        assert max(before - after for before, after in zip([400, *left], left, strict=False)) <= 6


@pytest.mark.parametrize("start_ms", [(1 << 32) - 3000, (1 << 32) - 300, (1 << 31) - 3000])
def test_clock_of_32_bits_may_wrap(start_ms: int) -> None:
    with Box() as box:
        box.now_ms = start_ms
        talk = Talk(box)
        first = talk.syn()
        assert [one.flags for one in box.wait(4000)] == ["SA", "SA"]
        assert talk.syn() == first
        talk.ack(b"x")
        assert [one.flags for one in box.wait(11000)] == ["S", "S", "S", "RA"]
        talk = Talk(box, V4.other(1))
        talk.open()
        box.pass_seconds(7430)
        assert box.states() == ["established"]
        box.pass_seconds(10)
        assert box.states() == []


def test_workers_whose_clocks_differ_forget_nothing_early() -> None:
    with Box(workers=2) as box:
        talk = Talk(box)
        talk.open()
        for _ in range(420):
            box.now_ms -= 50
            box.tick()
            box.now_ms += 60
            box.plane.packet("inside", talk.path.from_server(seq=talk.s_next, ack=talk.c_next), box.now_ms, worker=1)
        assert box.states() == ["established"]


def test_both_families_and_all_ports_have_their_own_connections(box: Box) -> None:
    talks = [Talk(box, path.other(number), s_isn=number * 1000) for path in (V4, V6) for number in range(20)]
    for talk in talks:
        talk.open()
    for talk in talks:
        assert talk.server(b"x").forwarded.seq == talk.s_next_told
    assert box.states() == ["established"] * 40


@pytest.mark.parametrize("flows", [4, 64, 2048])
def test_workers_share_one_table(flows: int) -> None:
    """Threads open, use and reset connections of their own, a few of them the same; the table must come out empty."""
    rounds = 25
    errors: list[BaseException] = []

    def work(box: Box, worker: int) -> None:
        try:
            for turn in range(rounds):
                for number in (worker * 8, worker * 8 + 1, 7000 + turn % 3):
                    one_life(box, number, worker)
        except BaseException as error:  # noqa: BLE001  # a thread's failure is the test's
            errors.append(error)

    def one_life(box: Box, number: int, worker: int) -> None:
        path = V4.other(number)
        outside = [path.from_client(flags="S", seq=7, options=[("MSS", 1400)])]
        sent = box.plane.packet("outside", outside[0], START_MS, worker=worker)[2]
        isn = int.from_bytes(sent[0][2][38:42], "big") if sent else 0
        ack = path.from_client(seq=8, ack=isn + 1 & MASK, data=b"data")
        box.plane.packet("outside", ack, START_MS, worker=worker)
        answer = path.from_server(flags="SA", seq=99, ack=8, options=[("MSS", 1400)])
        box.plane.packet("inside", answer, START_MS, worker=worker)
        box.plane.packet("inside", path.from_server(seq=100, ack=8, data=b"x"), START_MS, worker=worker)
        box.plane.packet("inside", path.from_server(flags="R", seq=101), START_MS, worker=worker)
        box.plane.tick(START_MS + 20_000 * (number % 2), worker=worker)

    with Box(service(ports=((80, 80),)), workers=4, flows=flows, half_open=256) as box:
        threads = [threading.Thread(target=work, args=(box, worker)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        used = box.plane.occupancy()["flows_used"]
        assert used == len(box.plane.flows(10_000)) <= flows
        for _ in range(2):
            box.now_ms += 8_000_000
            for _ in range(205):
                box.now_ms += 10
                box.tick()
        assert box.states() == []
        assert box.plane.occupancy()["flows_used"] == box.plane.occupancy()["hold_bytes_used"] == 0
        for number in range(min(flows, 64)):
            Talk(box, V4.other(number)).open()
        assert len(box.states()) == min(flows, 64)
