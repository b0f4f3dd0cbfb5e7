"""The lists of sources while the daemon runs: changed over the control socket, kept in the state folder, enforced by
the engine.

Owns the lists in force. Called by daemon.py: `turn()` about once a second, the handlers from the table of methods. Must
not know the file's format nor how an entry is read (blocklist.py). A change is on the disk before it is in force; an
entry that has ended is taken out within a second or two. While no daemon runs, entries stay as they are.

Sources that walked into a trap are blocked like listed ones, within a second or two: an IPv4 address, a /64 of IPv6. So
are those that have more of a service than its limits let them, and `over: block` says so: a prefix as long as the
service's. They are not in the file. Full: the one that ends first gives way.
LIMIT: a restarted daemon has forgotten them; they are caught again at their next try.
"""

from __future__ import annotations

import bisect
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from appliance import blocklist, statefile
from appliance.addresses import IPV4_MAPPED, AddressRange
from appliance.blocklist import Blocklist, Entry
from appliance.errors import OperatorError, WrongValue
from appliance.log import fields
from appliance.statefile import UnreadableError
from appliance.varlink import CallError
from cext.sourcelist import longest_decides

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from appliance.jobs import Jobs
    from appliance.models import Service
    from appliance.varlink import Call, Parameters
    from cext.sourcelist import Span

LOG = logging.getLogger(__name__)

FILE_NAME = "blocklist.json"


class Enforcing(Protocol):
    """What is needed of an engine."""

    def set_lists(self, spans: Sequence[Span]) -> None:
        """Replaces the lists."""

    def caught(self) -> list[tuple[bytes, str]]:
        """Sources that are to be blocked, noted since the last call, each with the service."""


@dataclass(frozen=True, slots=True)
class Penalty:
    """For how long, which part of an address, and what an operator reads beside it."""

    for_s: int
    why: str
    prefix_ipv4: int = 32
    prefix_ipv6: int = 64


def penalty(name: str, service: Service | None) -> Penalty | None:
    """What becomes of a source that a service of this name caught; None: it catches nobody any more."""
    if service is None:
        return None
    if service.trap is not None:
        return Penalty(service.trap, f"trap {name}")
    limits = service.per_source
    if not limits.any or limits.over != "block":
        return None
    return Penalty(limits.block_for, f"limit {name}", limits.prefix_ipv4, limits.prefix_ipv6)


class Blocking:
    """load() first.

    `problem` is what an operator should know of the file, None while all is well; it ends with the next change, which
    writes a new one.
    """

    def __init__(self, state_dir: Path, engine: Enforcing, penalty_of: Callable[[str], Penalty | None]) -> None:
        """penalty_of: what a service of this name does to a source, None: nothing."""
        self._path = state_dir / FILE_NAME
        self._engine = engine
        self._penalty_of = penalty_of
        self._lists = Blocklist()
        self._caught: dict[AddressRange, Entry] = {}
        self._submitted = False
        self.problem: str | None = None

    def load(self) -> None:
        """Takes up what a predecessor left."""
        try:
            self._lists = blocklist.load(self._path).alive(_now_s())
        except UnreadableError as error:
            self.problem = f"{self._path}: {error}, so no source is blocked; {self._put_aside()}"
        except OperatorError as error:
            self.problem = f"{error.message}, so no source is blocked; {error.hint}"
        self._enforce()
        if self._lists.entries:
            LOG.info("%d entries in the lists of sources", len(self._lists.entries))

    def turn(self, jobs: Jobs) -> None:
        """Takes out what has ended, takes in who was caught."""
        if self._submitted:
            return
        caught, now_s = self._engine.caught(), _now_s()
        ended = self._lists.alive(now_s) is not self._lists or any(_ended(one, now_s) for one in self._caught.values())
        if caught or ended:
            self._submitted = True
            jobs.submit(lambda: self._renew(caught, now_s), self._renewed)

    def add(self, call: Call) -> Parameters:
        """The method BlockAdd: all prefixes or none."""
        prefixes = _prefixes(call)
        now_s = _now_s()
        for_s = call.whole("for_s", 0, low=0, high=blocklist.MAX_FOR_S)
        action: blocklist.Action = "allow" if call.flag("allow") else "block"
        comment = call.text("comment", "", most=blocklist.MAX_COMMENT)
        lists = self._lists
        for prefix in prefixes:
            lists = lists.having(Entry(prefix, action, now_s, now_s + for_s if for_s else None, comment))
        self._change(lists)
        LOG.info("%s: %s", action, _shown(prefixes), extra=fields(user=call.caller.user, for_s=for_s))
        return {"entries": len(prefixes)}

    def delete(self, call: Call) -> Parameters:
        """The method BlockDelete: all prefixes or none."""
        prefixes = _prefixes(call)
        lists = self._lists
        caught = {prefix for prefix in prefixes if prefix in self._caught}
        for prefix in prefixes:
            if prefix not in caught:
                lists = lists.without(prefix)
        self._change(lists, without=caught)
        LOG.info("no longer on a list: %s", _shown(prefixes), extra=fields(user=call.caller.user))
        return {"entries": len(prefixes)}

    def entries(self, _call: Call) -> Parameters:
        """The method BlockList."""
        now_s = _now_s()
        caught = [one for one in self._caught.values() if not _ended(one, now_s)]
        found = [*self._lists.alive(now_s).entries, *sorted(caught, key=lambda one: one.prefix)]
        return {"entries": [blocklist.described(entry) for entry in found]}

    def _change(self, lists: Blocklist, without: Collection[AddressRange] = ()) -> None:
        """Raises OperatorError, and then everything is as it was."""
        blocklist.save(self._path, lists)
        self.problem = None
        self._lists = lists
        self._caught = {prefix: one for prefix, one in self._caught.items() if prefix not in without}
        self._enforce()

    def _enforce(self) -> None:
        """The lists, and who was caught: except those of whom the operator has said something."""
        spans = self._lists.spans()
        caught = [
            (first, last, True)
            for entry in self._caught.values()
            for first, last in blocklist.integers(entry.prefix)
            if not _is_in(spans, first)
        ]
        self._engine.set_lists(longest_decides([*spans, *caught]) if caught else spans)

    def _put_aside(self) -> str:
        try:
            return f"the file is kept as {statefile.put_aside(self._path)}"
        except OperatorError as error:
            return f"{error.message}: the next change replaces it"

    def _renew(self, caught: Sequence[tuple[bytes, str]], now_s: int) -> OperatorError | None:
        """What has ended is out even where the lists cannot be written: at the next start it has ended too."""
        self._caught = {prefix: one for prefix, one in self._caught.items() if not _ended(one, now_s)}
        for address, service in caught:
            self._take_in(address, service, now_s)
        before, self._lists = self._lists, self._lists.alive(now_s)
        self._enforce()
        try:
            if self._lists is not before:
                blocklist.save(self._path, self._lists)
        except OperatorError as error:
            return error
        return None

    def _take_in(self, address: bytes, service: str, now_s: int) -> None:
        found = self._penalty_of(service)
        if found is None:
            return  # it was a trap, or had a limit, when it caught this one
        prefix = _source_prefix(address, found)
        if prefix not in self._caught and len(self._caught) >= blocklist.MAX_CAUGHT:
            del self._caught[min(self._caught, key=lambda one: self._caught[one].until_s or 0)]
        self._caught[prefix] = Entry(prefix, "block", now_s, now_s + found.for_s, found.why)
        LOG.debug("caught by %s: %s", service, prefix)

    def _renewed(self, error: OperatorError | None) -> None:
        self._submitted = False
        if error is not None:
            LOG.warning("%s (%s)", error.message, error.hint)


def _ended(entry: Entry, now_s: int) -> bool:
    return entry.until_s is not None and entry.until_s <= now_s


def _is_in(spans: Sequence[Span], address: int) -> bool:
    at = bisect.bisect_right(spans, address, key=lambda span: span[0]) - 1
    return at >= 0 and address <= spans[at][1]


def _source_prefix(address: bytes, found: Penalty) -> AddressRange:
    """Of one source: by default an IPv4 address, and of IPv6 the /64 in which a host can take any address it likes."""
    number = int.from_bytes(address, "big")
    if number >> 32 == IPV4_MAPPED >> 32:
        return _prefix(4, number & 0xFFFFFFFF, 32 - found.prefix_ipv4)
    return _prefix(6, number, 128 - found.prefix_ipv6)


def _prefix(family: Literal[4, 6], number: int, free: int) -> AddressRange:
    """All addresses that differ from `number` in the last `free` bits only."""
    first = number >> free << free
    return AddressRange(family, first, first + (1 << free) - 1)


def _now_s() -> int:
    return int(time.time())


def _prefixes(call: Call) -> list[AddressRange]:
    texts = call.parameters.get("prefixes")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise CallError("org.varlink.service.InvalidParameter", {"parameter": "prefixes"})
    try:
        return [blocklist.parse_prefix(text) for text in texts]
    except WrongValue as error:
        raise OperatorError(error.wrong, f"{error.right} would be right") from error


def _shown(prefixes: list[AddressRange]) -> str:
    more = f" and {len(prefixes) - 3} more" if len(prefixes) > 3 else ""
    return ", ".join(str(prefix) for prefix in prefixes[:3]) + more
