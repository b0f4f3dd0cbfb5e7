"""A daemon that was killed leaves a file; the next one goes on with its connections, and trusts only what it may."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path as File

import pytest
from box.box import Box, Talk, service
from box.wire import V4

from cext.dataplane import FLOW_STATES, StateError

HEADER_BYTES, RECORDS_AT, RECORD_BYTES, KEY_BYTES = 4096, 4096 + 8192 * 48, 128, 40
STATE_AT, MARKS_AT = KEY_BYTES + 4, KEY_BYTES + 83
COUNT_AT, BOOT_AT = 16, 20
CHANGING = 0x40


@pytest.fixture
def table(tmp_path: File) -> File:
    return tmp_path / "flows"


@pytest.fixture
def first(table: File) -> Iterator[Box]:
    with opened(table) as box:
        yield box


def opened(table: File, flows: int = 64) -> Box:
    """A box whose clock is the machine's, as the records of a file are."""
    box = Box(path=str(table), flows=flows)
    box.now_ms = time.monotonic_ns() // 1_000_000
    return box


def killed(box: Box, table: File) -> File:
    """The file as the box would leave it if it were killed now."""
    copy = table.with_name(f"killed-{box.now_ms}")
    shutil.copy(table, copy)
    box.now_ms += 1
    return copy


def records(table: File) -> list[int]:
    """Where the records in use are in the file."""
    data = table.read_bytes()
    return [at for at in range(RECORDS_AT, len(data), RECORD_BYTES) if data[at + STATE_AT]]


def patch(table: File, at: int, data: bytes) -> None:
    with table.open("r+b") as file:
        file.seek(at)
        file.write(data)


def follow(talk: Talk, box: Box) -> Talk:
    """The same connection, now through another box."""
    talk.box = box
    return talk


def test_open_connection_goes_on_both_ways(first: Box, table: File) -> None:
    talk = Talk(first)
    talk.open(b"hello")
    talk.server(b"world")
    talk.s_sent = 5
    with opened(killed(first, table)) as second:
        assert second.plane.taken_up == 1
        follow(talk, second)
        down = talk.server(b"more").forwarded
        assert (down.seq, down.ack) == (talk.s_next_told, talk.c_next)
        assert talk.client(b"up").forwarded.ack == talk.s_next
        (flow,) = second.plane.flows(5)
        assert (flow["state"], flow["service"], flow["client_port"]) == ("established", "web", V4.cport)
        assert second.plane.counters()["services"]["web"]["events"]["translated"] == 2


def test_killed_process_leaves_its_connections(table: File) -> None:
    """A real process, killed by a real SIGKILL in the middle of its work."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            talk = Talk(opened(table))
            talk.open(b"hello")
            os.write(writer, talk.isn.to_bytes(4, "big"))
            while True:
                talk.server(b"x")
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        isn = int.from_bytes(pipe.read(4), "big")
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with opened(table) as second:
        talk = Talk(second, isn=isn, c_sent=5)
        assert talk.server(b"world").forwarded.seq == talk.s_next_told
        assert talk.client(b"up", options=[]).forwarded.ack == talk.s_next


def test_clean_end_leaves_them_too(first: Box, table: File) -> None:
    talk = Talk(first)
    talk.open()
    first.plane.close()
    with opened(table) as second:
        assert follow(talk, second).server(b"x").forwarded.seq == talk.s_next_told


def test_handshake_with_the_server_is_begun_again(first: Box, table: File) -> None:
    """What was held is gone. The client sends it again; a FIN that was held must not be sent without the data."""
    talk = Talk(first)
    talk.syn()
    talk.ack(b"request", flags="FPA")
    with opened(killed(first, table)) as second:
        follow(talk, second)
        second.now_ms = time.monotonic_ns() // 1_000_000
        (syn,) = second.wait(1000)
        assert (syn.flags, syn.seq) == ("S", talk.c_isn)
        (ack,) = talk.synack()
        assert (ack.flags, ack.data, ack.seq) == ("A", b"", talk.c_next)
        assert talk.client(b"request", flags="FPA").forwarded.data == b"request"


def test_what_the_predecessor_learned_is_known(first: Box, table: File) -> None:
    Talk(first, s_options=[("MSS", 1234), ("WScale", 2)]).open()
    with opened(killed(first, table)) as second:
        answer = Talk(second, V4.other(1)).syn()
        assert (answer.option("MSS"), answer.option("WScale")) == (1234, 2)


def test_every_state_is_taken_up(first: Box, table: File) -> None:
    Talk(first, V4.other(1)).open()
    half = Talk(first, V4.other(2))
    half.syn()
    half.ack()
    closed = Talk(first, V4.other(3))
    closed.open()
    closed.server(flags="R")
    Talk(first, V4.other(4)).server(flags="S", seq=1, ack=0)
    passed = Talk(first, V4.other(5))
    passed.server(flags="S", seq=1, ack=0)
    passed.server(flags="R", seq=2, ack=0)
    states = sorted(first.states())
    assert states == sorted(set(FLOW_STATES) - {"free"})
    with opened(killed(first, table)) as second:
        assert sorted(second.states()) == states


def test_service_may_have_gone(first: Box, table: File) -> None:
    talk = Talk(first)
    talk.open()
    with opened(killed(first, table)) as second:
        second.plane.set_services([service("other", ports=((443, 443),))])
        follow(talk, second)
        assert talk.server(b"x").forwarded.seq == talk.s_next_told
        assert second.plane.flows(1)[0]["service"] == ""


@pytest.mark.parametrize("state", [len(FLOW_STATES), 255])
def test_record_of_no_known_state_is_free(first: Box, table: File, state: int) -> None:
    Talk(first).open()
    copy = killed(first, table)
    patch(copy, records(copy)[0] + STATE_AT, bytes([state]))
    with opened(copy) as second:
        assert second.plane.taken_up == 0
        Talk(second).open()


def test_record_that_was_being_changed_is_not_trusted(first: Box, table: File) -> None:
    """Killed between two of the numbers that change when the server has answered."""
    talk = Talk(first)
    talk.open()
    copy = killed(first, table)
    at = records(copy)[0] + MARKS_AT
    patch(copy, at, bytes([copy.read_bytes()[at] | CHANGING]))
    with opened(copy) as second:
        assert second.plane.taken_up == 0


def test_record_that_was_being_made_is_free(first: Box, table: File) -> None:
    talk = Talk(first)
    talk.syn()
    talk.ack()
    copy = killed(first, table)
    patch(copy, records(copy)[0] + STATE_AT, b"\0")
    with opened(copy) as second:
        assert second.plane.taken_up == 0
        assert second.plane.occupancy()["flows_used"] == 0


def test_records_of_noise_do_no_harm(first: Box, table: File) -> None:
    """Whatever the records say, a box works with them: numbers out of range, keys twice, chains of anything."""
    Talk(first).open()
    copy = killed(first, table)
    noise = bytearray(os.urandom(64 * RECORD_BYTES))
    for number in range(64):
        noise[number * RECORD_BYTES + STATE_AT] = number % (len(FLOW_STATES) + 1)
        noise[number * RECORD_BYTES + MARKS_AT] &= ~CHANGING
    noise[RECORD_BYTES : 2 * RECORD_BYTES] = noise[:RECORD_BYTES]
    patch(copy, RECORDS_AT, bytes(noise))
    patch(copy, HEADER_BYTES, os.urandom(RECORDS_AT - HEADER_BYTES))
    with opened(copy) as second:
        assert 0 < second.plane.taken_up < 64
        for seconds in range(8000, 8010):
            second.plane.packet("inside", V4.from_server(seq=1), second.now_ms + seconds * 1000)
            for tick in range(100):
                second.plane.tick(second.now_ms + seconds * 1000 + tick * 10)
        assert second.states() in ([], ["pass"])
        Talk(second, V4.other(1)).open()


@pytest.mark.parametrize(("before", "after"), [(8, 64), (64, 8), (64, 3)])
def test_capacity_may_change(tmp_path: File, before: int, after: int) -> None:
    table = tmp_path / "flows"
    talks = []
    with opened(table, before) as first:
        for number in range(6):
            talks.append(Talk(first, V4.other(number)))
            first.now_ms += 1
            talks[-1].open()
    with opened(table, after) as second:
        kept = min(6, after)
        assert second.plane.taken_up == kept
        assert second.plane.occupancy()["flows_capacity"] == after
        for talk in talks[-kept:]:
            assert follow(talk, second).server(b"x").forwarded.seq == talk.s_next_told, "the latest are kept"
        assert second.plane.backends() != []
    with opened(table, after) as third:
        assert third.plane.taken_up == kept


def test_latest_connections_are_kept_when_the_clock_wraps(table: File) -> None:
    """32 bits of milliseconds: 49 days. What is latest is so as seen from now."""
    now = time.monotonic_ns() // 1_000_000
    with opened(table, 8) as first:
        old, new = Talk(first, V4.other(1)), Talk(first, V4.other(2))
        first.now_ms = now + (1 << 32) - 5_000_000
        old.open()
        first.now_ms = now + (1 << 32)
        new.open()
    with opened(table, 1) as second:
        (flow,) = second.plane.flows(5)
        assert flow["client_port"] == new.path.cport


def spoil_boot(table: File) -> None:
    patch(table, BOOT_AT, b"0" * 36)


def spoil_magic(table: File) -> None:
    patch(table, 0, b"NOTLEVEE")


def spoil_layout(table: File) -> None:
    patch(table, 8, struct.pack("<I", 99))


def spoil_count(table: File) -> None:
    patch(table, COUNT_AT, struct.pack("<I", 0xFFFFFFFF))


def spoil_end(table: File) -> None:
    os.truncate(table, RECORDS_AT + 100)


def spoil_header(table: File) -> None:
    os.truncate(table, 10)


def spoil_all(table: File) -> None:
    os.truncate(table, 0)


def spoil_size(table: File) -> None:
    with table.open("ab") as file:
        file.write(b"more")


SPOILS = (
    spoil_boot, spoil_magic, spoil_layout, spoil_count, spoil_end, spoil_header, spoil_all, spoil_size,
)  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILS)
def test_file_that_is_not_ours_is_begun_anew(first: Box, table: File, spoil: Callable[[File], None]) -> None:
    Talk(first).open()
    copy = killed(first, table)
    spoil(copy)
    with opened(copy) as second:
        assert second.plane.taken_up == 0
        assert second.plane.backends() == []
        Talk(second).open()
    with opened(copy) as third:
        assert third.plane.taken_up == 1


def test_old_file_stays_whole_while_a_new_one_is_made(first: Box, table: File) -> None:
    """A predecessor that still maps the old file must not be cut short under its feet."""
    talk = Talk(first)
    talk.open()
    with opened(table, 32) as second:
        assert second.plane.taken_up == 1
        assert talk.server(b"x").forwarded.seq == talk.s_next_told
    assert sorted(file.name for file in table.parent.iterdir()) == ["flows"]


def test_missing_folder_is_said(tmp_path: File) -> None:
    with pytest.raises(StateError) as caught:
        opened(tmp_path / "missing" / "flows")
    assert str(tmp_path / "missing" / "flows") in caught.value.message
    assert "No such file or directory" in caught.value.message
    assert "must exist" in caught.value.hint


@pytest.mark.parametrize("kind", ["folder", "below a file", "device"])
def test_place_that_takes_no_file_is_said(tmp_path: File, kind: str) -> None:
    (tmp_path / "file").touch()
    places = {"folder": tmp_path, "below a file": tmp_path / "file" / "flows", "device": File("/dev/full/flows")}
    with pytest.raises(StateError) as caught:
        opened(places[kind])
    assert caught.value.hint


@pytest.mark.parametrize("flows", [64, 128])
def test_full_disk_is_said_and_the_old_file_survives(tmp_path: File, flows: int) -> None:
    """No room for the file: as much as the process may write stands for the disk."""
    table = tmp_path / "flows"
    with opened(table) as first:
        talk = Talk(first)
        talk.open()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (RECORDS_AT // 2, hard))
    try:
        if flows == 128:
            with pytest.raises(StateError, match="File too large"):
                opened(table, flows)
        with pytest.raises(StateError, match="File too large"):
            opened(tmp_path / "another")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.name for file in tmp_path.iterdir() if file.name.endswith(".new")] == []
    with opened(table) as second:
        assert second.plane.taken_up == 1
        assert follow(talk, second).server(b"x").forwarded.seq == talk.s_next_told


def test_private_table_needs_no_file() -> None:
    with Box() as box:
        assert box.plane.taken_up == 0
