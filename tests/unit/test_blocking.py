"""The lists of sources in the daemon: what a call changes, what is kept, what becomes of a file that is spoilt."""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from appliance import blocking, blocklist
from appliance.addresses import parse_addresses
from appliance.blocking import Blocking, Penalty, penalty
from appliance.blocklist import Blocklist, Entry
from appliance.errors import OperatorError
from appliance.jobs import Jobs
from appliance.models import Service
from appliance.roles import Caller, Role
from appliance.varlink import Call, CallError
from cext.sourcelist import Span

CATCHERS = {
    "telnet": Penalty(60, "trap telnet"),
    "proxy": Penalty(120, "trap proxy"),
    "web": Penalty(60, "limit web", prefix_ipv4=24, prefix_ipv6=56),
}


class Recorder:
    """What an engine was told last."""

    def __init__(self) -> None:
        self.spans: Sequence[Span] = []

        self.mailbox: list[tuple[bytes, str]] = []

    def set_lists(self, spans: Sequence[Span]) -> None:
        self.spans = spans

    def caught(self) -> list[tuple[bytes, str]]:
        found, self.mailbox = self.mailbox, []
        return found


@pytest.fixture
def engine() -> Recorder:
    return Recorder()


@pytest.fixture
def one(tmp_path: Path, engine: Recorder) -> Blocking:
    made = Blocking(tmp_path, engine, CATCHERS.get)
    made.load()
    return made


@pytest.fixture
def jobs() -> Iterator[tuple[selectors.BaseSelector, Jobs]]:
    with selectors.DefaultSelector() as selector, closing(Jobs(selector)) as made:
        yield selector, made


def finish(selector: selectors.BaseSelector) -> None:
    """The job in hand, to its end."""
    for key, events in selector.select(10):
        key.data(events)


def call(**parameters: object) -> Call:
    return Call(parameters, Caller(1, 0, Role.CHANGER))


def prefixes(lists: Blocking) -> list[object]:
    entries = lists.entries(call())["entries"]
    assert isinstance(entries, list)
    return [(entry["prefix"], entry["action"]) for entry in entries]


def test_change_is_enforced_and_kept(tmp_path: Path, one: Blocking, engine: Recorder) -> None:
    one.add(call(prefixes=["192.0.2.0/24", "2001:db8::1"], comment="night of the 3rd"))
    one.add(call(prefixes=["192.0.2.7"], allow=True, for_s=3600))
    assert prefixes(one) == [("192.0.2.0/24", "block"), ("192.0.2.7", "allow"), ("2001:db8::1", "block")]
    assert len(engine.spans) == 4
    other = Recorder()
    successor = Blocking(tmp_path, other, CATCHERS.get)
    successor.load()
    assert (prefixes(successor), other.spans, successor.problem) == (prefixes(one), engine.spans, None)
    successor.delete(call(prefixes=["192.0.2.0/24", "192.0.2.7", "2001:db8::1"]))
    assert (prefixes(successor), other.spans) == ([], [])


@pytest.mark.parametrize("parameters", [{}, {"prefixes": []}, {"prefixes": "192.0.2.1"}, {"prefixes": [1]}])
def test_call_without_prefixes(one: Blocking, parameters: dict[str, object]) -> None:
    for method in (one.add, one.delete):
        with pytest.raises(CallError, match="InvalidParameter"):
            method(call(**parameters))


def test_all_or_none(one: Blocking, engine: Recorder) -> None:
    with pytest.raises(OperatorError, match=r"192\.0\.2\.1/24"):
        one.add(call(prefixes=["192.0.2.0", "192.0.2.1/24"]))
    one.add(call(prefixes=["192.0.2.0"]))
    with pytest.raises(OperatorError, match=r"192\.0\.2\.1: is not on a list"):
        one.delete(call(prefixes=["192.0.2.0", "192.0.2.1"]))
    assert prefixes(one) == [("192.0.2.0", "block")]
    assert len(engine.spans) == 1


def test_disk_that_takes_nothing(tmp_path: Path, one: Blocking, engine: Recorder) -> None:
    one.add(call(prefixes=["192.0.2.0"]))
    path = tmp_path / blocking.FILE_NAME
    path.unlink()
    path.mkdir()  # as good as a full disk: the new file cannot take its place
    with pytest.raises(OperatorError, match="cannot be written"):
        one.add(call(prefixes=["192.0.2.1"]))
    assert prefixes(one) == [("192.0.2.0", "block")]
    assert len(engine.spans) == 1


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 9}', b"\xff" * 100])
def test_spoilt_file_is_said_and_kept(tmp_path: Path, engine: Recorder, content: bytes) -> None:
    path = tmp_path / blocking.FILE_NAME
    path.write_bytes(content)
    one = Blocking(tmp_path, engine, CATCHERS.get)
    one.load()
    assert "no source is blocked" in str(one.problem)
    aside = path.with_name(path.name + ".unreadable")
    assert (aside.read_bytes(), path.exists()) == (content, False)
    one.add(call(prefixes=["192.0.2.0"]))
    assert one.problem is None
    assert blocklist.load(path).entries[0].prefix == parse_addresses("192.0.2.0")


def test_entry_that_has_ended_is_taken_out(
    tmp_path: Path, engine: Recorder, jobs: tuple[selectors.BaseSelector, Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    selector, thread = jobs
    now_s = int(time.time())
    ends, stays = (Entry(parse_addresses(f"192.0.2.{n}"), "block", now_s, now_s + 60 * n) for n in (1, 2))
    blocklist.save(tmp_path / blocking.FILE_NAME, Blocklist((ends, stays)))
    one = Blocking(tmp_path, engine, CATCHERS.get)
    one.load()
    one.turn(thread)
    assert len(engine.spans) == 1  # neighbours that say the same
    monkeypatch.setattr(blocking, "_now_s", lambda: now_s + 61)
    one.turn(thread)
    one.turn(thread)
    finish(selector)
    assert blocklist.load(tmp_path / blocking.FILE_NAME).entries == (stays,)
    assert prefixes(one) == [("192.0.2.2", "block")]
    first, last, _ = engine.spans[0]
    assert first == last


V4 = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7])
V6 = bytes.fromhex("20010db8000000010000000000000007")


def test_caught_sources_are_blocked_for_a_time(
    engine: Recorder, one: Blocking, jobs: tuple[selectors.BaseSelector, Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    selector, thread = jobs
    now_s = int(time.time())
    engine.mailbox = [(V4, "telnet"), (V6, "proxy"), (V4, "proxy"), (V6[::-1], "no trap any more")]
    one.turn(thread)
    finish(selector)
    assert prefixes(one) == [("192.0.2.7", "block"), ("2001:db8:0:1::/64", "block")]
    assert [last - first for first, last, _ in engine.spans] == [0, (1 << 64) - 1]
    monkeypatch.setattr(blocking, "_now_s", lambda: now_s + 125)
    one.turn(thread)
    finish(selector)
    assert (prefixes(one), engine.spans) == ([], [])


def test_who_is_over_a_limit_is_blocked_with_its_prefix(
    engine: Recorder, one: Blocking, jobs: tuple[selectors.BaseSelector, Jobs]
) -> None:
    selector, thread = jobs
    engine.mailbox = [(V4, "web"), (V6, "web")]
    one.turn(thread)
    finish(selector)
    assert prefixes(one) == [("192.0.2.0/24", "block"), ("2001:db8::/56", "block")]


def test_which_services_block() -> None:
    def found(**keys: object) -> Penalty | None:
        return penalty("web", Service.model_validate({"addresses": ("192.0.2.1",), "ports": (80,), **keys}))

    assert found(per_source={"open": 5, "over": "block", "block_for": "2m", "prefix_ipv6": 56}) == Penalty(
        120, "limit web", 32, 56
    )
    assert found(trap="1h") == Penalty(3600, "trap web")
    assert [found(), found(per_source={"open": 5}), found(per_source={"over": "block"})] == [None] * 3
    assert penalty("gone", None) is None


def test_what_the_operator_says_of_a_caught_source_decides(
    tmp_path: Path, engine: Recorder, one: Blocking, jobs: tuple[selectors.BaseSelector, Jobs]
) -> None:
    selector, thread = jobs
    engine.mailbox = [(V4, "telnet"), (V6, "telnet")]
    one.turn(thread)
    finish(selector)
    one.add(call(prefixes=["192.0.2.0/24"], allow=True))
    assert [blocked for _, _, blocked in engine.spans] == [False, True], "a shorter prefix, but a person's"
    one.delete(call(prefixes=["192.0.2.0/24", "2001:db8:0:1::/64"]))
    assert prefixes(one) == [("192.0.2.7", "block")]
    assert len(blocklist.load(tmp_path / blocking.FILE_NAME).entries) == 0, "they are not in the file"


def test_as_many_are_caught_as_there_is_room(
    engine: Recorder, one: Blocking, jobs: tuple[selectors.BaseSelector, Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    selector, thread = jobs
    monkeypatch.setattr(blocklist, "MAX_CAUGHT", 2)
    engine.mailbox = [(V4[:15] + bytes([n]), service) for n, service in ((1, "proxy"), (2, "telnet"), (3, "proxy"))]
    one.turn(thread)
    finish(selector)
    assert prefixes(one) == [("192.0.2.1", "block"), ("192.0.2.3", "block")], "the one that ends first gave way"
