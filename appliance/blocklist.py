"""Sources that the operator blocks, and those that are never to be blocked: the lists, and the file that keeps them.

Owns the meaning of an entry, its expiry and what the file says. Called by blocking.py in the daemon, and by tests. Must
not know how a packet is found in the lists (cext), nor the control socket. Times are seconds of the wall clock, so that
an entry ends when it should after a restart; a clock that is set changes when entries end, and nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from appliance import statefile
from appliance.addresses import IPV4_MAPPED, AddressRange, parse_addresses
from appliance.errors import OperatorError, WrongValue, shown
from appliance.statefile import UnreadableError
from cext.sourcelist import Span, longest_decides

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
# Each makes at most two spans more, and so does each source that was caught, of 65535 that the data plane takes.
MAX_ENTRIES = 24000
MAX_CAUGHT = 8192
MAX_COMMENT = 120
MAX_FOR_S = 10 * 365 * 86400
Action = Literal["block", "allow"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One prefix. until_s: it ends then; None: never."""

    prefix: AddressRange
    action: Action
    since_s: int
    until_s: int | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Blocklist:
    """All entries, ascending, each prefix once. A change is a new one."""

    entries: tuple[Entry, ...] = ()

    def having(self, entry: Entry) -> Blocklist:
        """With this entry, in place of one of the same prefix. Raises OperatorError when there is no room."""
        others = [one for one in self.entries if one.prefix != entry.prefix]
        if len(others) >= MAX_ENTRIES:
            hint = "join addresses to prefixes, or delete what is of no more use"
            raise OperatorError(f"{entry.prefix}: there are {MAX_ENTRIES} entries already", hint)
        return Blocklist(tuple(sorted([*others, entry], key=lambda one: one.prefix)))

    def without(self, prefix: AddressRange) -> Blocklist:
        """Raises OperatorError when there is no such entry."""
        others = tuple(one for one in self.entries if one.prefix != prefix)
        if len(others) == len(self.entries):
            raise OperatorError(f"{prefix}: is not on a list", "`levee block list` shows what is")
        return Blocklist(others)

    def alive(self, now_s: int) -> Blocklist:
        """Without what has ended; the same object if nothing has."""
        left = tuple(one for one in self.entries if one.until_s is None or one.until_s > now_s)
        return self if len(left) == len(self.entries) else Blocklist(left)

    def spans(self) -> list[Span]:
        """As the data plane takes them."""
        return longest_decides(
            (first, last, entry.action == "block") for entry in self.entries for first, last in integers(entry.prefix)
        )


def integers(prefix: AddressRange) -> list[tuple[int, int]]:
    """First and last addresses in the data plane, where IPv4 is in ::ffff:0:0/96: no IPv6 prefix contains it."""
    if prefix.family == 4:
        return [(prefix.first + IPV4_MAPPED, prefix.last + IPV4_MAPPED)]
    behind = IPV4_MAPPED + (1 << 32)
    parts = ((prefix.first, min(prefix.last, IPV4_MAPPED - 1)), (max(prefix.first, behind), prefix.last))
    return [(first, last) for first, last in parts if first <= last]


def parse_prefix(text: str) -> AddressRange:
    """An address or a prefix of either family. Raises WrongValue."""
    span = parse_addresses(text)
    if "-" in str(span):
        raise WrongValue(f"{text} is not one prefix", "an address or a prefix like 192.0.2.0/24: the longest decides")
    return span


# ---- the file


def load(path: Path) -> Blocklist:
    """The lists in the file, empty ones when there is none. Raises UnreadableError and OperatorError."""
    found = statefile.read(path)
    if found is None:
        return Blocklist()
    if found.get("version") != VERSION:
        raise UnreadableError(f"is of version {shown(found.get('version'))}, not {VERSION}")
    entries = found.get("entries")
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        raise UnreadableError("has no list of entries")
    read = [_entry(one) for one in entries]
    if len({entry.prefix for entry in read}) != len(read):
        raise UnreadableError("has a prefix twice")
    return Blocklist(tuple(sorted(read, key=lambda one: one.prefix)))


def _entry(value: object) -> Entry:
    match value:
        case {
            "prefix": str(text),
            "action": "block" | "allow" as action,
            "since_s": int(since_s),
            "until_s": int() | None as until_s,
            "comment": str(comment),
        }:
            try:
                prefix = parse_prefix(text)
            except WrongValue as error:
                raise UnreadableError(error.wrong) from error
            return Entry(prefix, "block" if action == "block" else "allow", since_s, until_s, comment)
        case _:
            raise UnreadableError(f"has an entry that is none: {shown(json.dumps(value))}")


def described(entry: Entry) -> dict[str, object]:
    """An entry as it stands in the file, and in replies of the control socket."""
    return {
        "prefix": str(entry.prefix),
        "action": entry.action,
        "since_s": entry.since_s,
        "until_s": entry.until_s,
        "comment": entry.comment,
    }


def save(path: Path, lists: Blocklist) -> None:
    """Whole or not at all, and on the disk when this returns. Raises OperatorError; then the old file is untouched."""
    statefile.write(path, {"version": VERSION, "entries": [described(entry) for entry in lists.entries]})
