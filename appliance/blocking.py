"""The lists of sources while the daemon runs: changed over the control socket, kept in the state folder, enforced by
the engine.

Owns the lists in force. Called by daemon.py: `turn()` about once a second, the handlers from the table of methods. Must
not know the file's format nor how an entry is read (blocklist.py). A change is on the disk before it is in force; an
entry that has ended is taken out within a second or two. While no daemon runs, entries stay as they are.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol

from appliance import blocklist, statefile
from appliance.addresses import AddressRange
from appliance.blocklist import Blocklist, Entry
from appliance.errors import OperatorError, WrongValue
from appliance.log import fields
from appliance.statefile import UnreadableError
from appliance.varlink import CallError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from appliance.jobs import Jobs
    from appliance.varlink import Call, Parameters
    from cext.sourcelist import Span

LOG = logging.getLogger(__name__)

FILE_NAME = "blocklist.json"


class Enforcing(Protocol):
    """What is needed of an engine."""

    def set_lists(self, spans: Sequence[Span]) -> None:
        """Replaces the lists."""


class Blocking:
    """load() first.

    `problem` is what an operator should know of the file, None while all is well; it ends with the next change, which
    writes a new one.
    """

    def __init__(self, state_dir: Path, engine: Enforcing) -> None:
        self._path = state_dir / FILE_NAME
        self._engine = engine
        self._lists = Blocklist()
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
        self._engine.set_lists(self._lists.spans())
        if self._lists.entries:
            LOG.info("%d entries in the lists of sources", len(self._lists.entries))

    def turn(self, jobs: Jobs) -> None:
        """Takes out what has ended."""
        if not self._submitted and self._lists.alive(_now_s()) is not self._lists:
            self._submitted = True
            jobs.submit(self._expire, self._expired)

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
        for prefix in prefixes:
            lists = lists.without(prefix)
        self._change(lists)
        LOG.info("no longer on a list: %s", _shown(prefixes), extra=fields(user=call.caller.user))
        return {"entries": len(prefixes)}

    def entries(self, _call: Call) -> Parameters:
        """The method BlockList."""
        return {"entries": [blocklist.described(entry) for entry in self._lists.alive(_now_s()).entries]}

    def _change(self, lists: Blocklist) -> None:
        """Raises OperatorError, and then everything is as it was."""
        blocklist.save(self._path, lists)
        self.problem = None
        self._lists = lists
        self._engine.set_lists(lists.spans())

    def _put_aside(self) -> str:
        try:
            return f"the file is kept as {statefile.put_aside(self._path)}"
        except OperatorError as error:
            return f"{error.message}: the next change replaces it"

    def _expire(self) -> OperatorError | None:
        """The lists without what has ended are in force even where they cannot be written: at the next start the same
        entries have ended too."""
        self._lists = self._lists.alive(_now_s())
        self._engine.set_lists(self._lists.spans())
        try:
            blocklist.save(self._path, self._lists)
        except OperatorError as error:
            return error
        return None

    def _expired(self, error: OperatorError | None) -> None:
        self._submitted = False
        if error is not None:
            LOG.warning("%s (%s)", error.message, error.hint)


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
