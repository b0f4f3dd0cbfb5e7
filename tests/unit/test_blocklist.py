"""The lists of sources: what an entry means, and the file that keeps them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance import blocklist
from appliance.addresses import IPV4_MAPPED, parse_addresses
from appliance.blocklist import Blocklist, Entry
from appliance.errors import OperatorError, WrongValue
from appliance.statefile import UnreadableError


def entry(text: str, action: blocklist.Action = "block", until_s: int | None = None, comment: str = "") -> Entry:
    return Entry(parse_addresses(text), action, 1000, until_s, comment)


FULL = Blocklist((entry("192.0.2.0/24", until_s=2000), entry("192.0.2.7", "allow", comment='us, "friends"')))


def test_one_entry_for_each_prefix() -> None:
    lists = Blocklist().having(entry("192.0.2.7")).having(entry("10.0.0.0/8")).having(entry("192.0.2.7", "allow"))
    assert [(str(one.prefix), one.action) for one in lists.entries] == [("10.0.0.0/8", "block"), ("192.0.2.7", "allow")]
    assert lists.without(parse_addresses("10.0.0.0/8")).entries == (entry("192.0.2.7", "allow"),)
    with pytest.raises(OperatorError, match="not on a list"):
        lists.without(parse_addresses("10.0.0.0/9"))


def test_there_is_a_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocklist, "MAX_ENTRIES", 2)
    assert len(FULL.having(entry("192.0.2.7")).entries) == 2, "in place of one is no more"
    with pytest.raises(OperatorError, match="2 entries already"):
        FULL.having(entry("192.0.2.8"))


def test_entries_end() -> None:
    assert FULL.alive(1999) is FULL
    assert FULL.alive(2000).entries == FULL.entries[1:]


def test_longest_prefix_decides() -> None:
    first = IPV4_MAPPED + (192 << 24) + (2 << 8)
    assert FULL.spans() == [(first, first + 6, True), (first + 7, first + 7, False), (first + 8, first + 255, True)]


def test_ipv6_prefix_around_all_of_ipv4_leaves_it_out() -> None:
    behind = IPV4_MAPPED + (1 << 32)
    lists = Blocklist((entry("::/0"), entry("2001:db8::/32", "allow")))
    assert not any(first < behind and last >= IPV4_MAPPED for first, last, _ in lists.spans())
    assert lists.spans()[0] == (0, IPV4_MAPPED - 1, True)
    assert lists.spans()[-1][1] == (1 << 128) - 1


@pytest.mark.parametrize("text", ["192.0.2.1-192.0.2.2", "192.0.2.1/24", "nobody", "192.0.2.0/33", "224.0.0.1", ""])
def test_what_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(WrongValue):
        blocklist.parse_prefix(text)


def test_kept_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "lists.json"
    assert blocklist.load(path) == Blocklist()
    for lists in (FULL, Blocklist()):
        blocklist.save(path, lists)
        assert blocklist.load(path) == lists
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"version": 2}, "version 2"),
        ({"entries": {}}, "no list"),
        ({"entries": [1]}, "none"),
        ({"entries": [blocklist.described(FULL.entries[0]) | {"action": "bless"}]}, "none"),
        ({"entries": [blocklist.described(FULL.entries[0]) | {"until_s": "soon"}]}, "none"),
        ({"entries": [blocklist.described(FULL.entries[0]) | {"prefix": "192.0.2.1/24"}]}, "behind its prefix"),
        ({"entries": [blocklist.described(FULL.entries[0])] * 2}, "twice"),
    ],
)
def test_file_that_is_not_ours(tmp_path: Path, change: dict[str, object], wrong: str) -> None:
    path = tmp_path / "lists.json"
    blocklist.save(path, FULL)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(UnreadableError, match=wrong):
        blocklist.load(path)


def test_file_cut_anywhere_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "lists.json"
    blocklist.save(path, FULL)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UnreadableError):
            blocklist.load(path)
