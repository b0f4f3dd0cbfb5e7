"""The serial menu: a question, a number, a few lines; no cursor, no colour, nothing but ASCII and line ends.

Owns the numbers and their questions. Made for 9600 baud, where a screen of 80x25 takes two seconds: nothing is printed
that was not asked for, and no page is longer than a screen without a question. The pages are those of the full screen.
Called by commands/menu.py; a session may end at any point of it, and has changed nothing that was not said.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from appliance import exits, values
from appliance.errors import ConfigError, OperatorError, WrongValue
from appliance.tui import backup_file, poll
from appliance.tui.view import changed, edits, frame, guide, limits, packets, pages
from appliance.tui.view.line import plain
from appliance.tui.view.snapshot import Asked, Snapshot

if TYPE_CHECKING:
    from appliance.tui.box import Box, Reply
    from appliance.tui.view.line import Line

WIDTH = 79  # a serial terminal may wrap behind the 80th
ROWS = 22
CONFIRM_S = 120
MAX_BLOCK_S = 10 * 365 * 86400
EDITORS = ("nano", "vi")
CAPTURE_S, MOST_PACKETS, PAUSE_S = 10, 20, 0.2
KEEP = "it stays with: Configuration, Keep the change on trial"


class Left(Exception):
    """The input has ended."""


class Terminal:
    """Lines out, lines in."""

    def __init__(self, given: TextIO, shown: TextIO) -> None:
        self._given = given
        self._shown = shown

    def say(self, text: str = "") -> None:
        """One line."""
        self._shown.write(f"{plain(text)}\n")
        self._shown.flush()

    def ask(self, text: str) -> str:
        """A line of answer. Raises Left."""
        self._shown.write(f"{plain(text)} ")
        self._shown.flush()
        found = self._given.readline()
        if not found:
            raise Left
        return found.strip()


class Entry(NamedTuple):
    """A line of a menu."""

    title: str
    do: Callable[[], None]


class Menu:
    """One session."""

    def __init__(self, box: Box, terminal: Terminal) -> None:
        self._box = box
        self._terminal = terminal
        self._snapshot = Snapshot()
        self._top = (
            Entry("Status", self._status),
            Entry("Services", lambda: self._page("services")),
            Entry("One service: why, drops, servers", self._service),
            Entry("Attacks", lambda: self._page("events")),
            Entry("Connections", self._flows),
            Entry("Blocked sources", self._blocked),
            Entry("Servers and what they announce", lambda: self._page("backends")),
            Entry("Configuration", self._configuration),
            Entry("Bypass on or off", self._bypass),
            Entry("Packets, and what became of them", self._packets),
            Entry("Set up: ports, and the servers that were seen", self._set_up),
        )
        self._settings = (
            Entry("What was in force, and when", lambda: self._page("configuration")),
            Entry("Show what is in force", lambda: self._say_all(self._box.configuration("running").splitlines())),
            Entry("Protection of a service", self._protect),
            Entry("Limits of each source of a service", self._limits),
            Entry("A new service", self._new),
            Entry("Edit the file", self._edit),
            Entry("Apply the file as it is", lambda: self._apply(self._box.configuration("file"), "")),
            Entry("Keep the change on trial", self._confirm),
            Entry("Take the change on trial back", self._undo),
            Entry("Go back to an earlier one", self._go_back),
            Entry("Backup to a file", self._backup),
        )

    def run(self) -> int:
        """Until 0, or the end of the input."""
        try:
            self._choose("levee", self._top, "Leave")
        except Left:
            self._terminal.say()
        return exits.DONE

    def _choose(self, title: str, entries: Sequence[Entry], last: str) -> None:
        while True:
            self._terminal.say()
            self._banner()
            self._terminal.say(title)
            for number, entry in enumerate(entries, 1):
                self._terminal.say(f"  {number}  {entry.title}")
            self._terminal.say(f"  0  {last}")
            answer = self._terminal.ask("number?")
            if answer == "0":
                return
            if not answer.isdecimal() or not 1 <= int(answer) <= len(entries):
                self._terminal.say(f"a number from 0 to {len(entries)}, please")
                continue
            try:
                entries[int(answer) - 1].do()
            except OperatorError as error:
                self._told(error)

    def _told(self, error: OperatorError) -> None:
        self._terminal.say(f"not done: {error.message}")
        if error.hint and not isinstance(error, ConfigError):
            self._terminal.say(f"hint: {error.hint}")

    # ---- looking ----

    def _look(self, page: str, asked: Asked | None = None) -> Snapshot:
        self._snapshot = poll.ask(self._box, page, asked or Asked(), self._snapshot)
        return self._snapshot

    def _banner(self) -> None:
        for one in frame.banner(self._look("overview"), WIDTH):
            if one.text.strip():
                self._terminal.say(one.text.strip())

    def _say_all(self, texts: Sequence[str]) -> None:
        """A screen at a time."""
        for number, text in enumerate(texts):
            if number and number % ROWS == 0 and self._terminal.ask("-- Enter: more, 0: enough --") == "0":
                return
            self._terminal.say(text)

    def _show(self, lines: Sequence[Line]) -> None:
        self._say_all([one.text for one in lines])

    def _page(self, name: str, asked: Asked | None = None) -> None:
        self._show(pages.BY_NAME[name](self._look(name, asked), asked or Asked(), WIDTH, ROWS))

    def _status(self) -> None:
        self._show(pages.trouble(self._look("overview"), WIDTH))
        self._page("services")

    def _service(self) -> None:
        name = self._which_service()
        if name:
            self._show(pages.service(name, self._look("service"), WIDTH))

    def _which_service(self) -> str:
        status = self._look("overview").status
        names = sorted(status["services"]) if status else []
        if len(names) == 1:
            return names[0]
        self._say_all([f"  {number}  {name}" for number, name in enumerate(names, 1)])
        answer = self._terminal.ask("number or name of the service?")
        if answer.isdecimal() and 1 <= int(answer) <= len(names):
            return names[int(answer) - 1]
        if answer and answer not in names:
            raise OperatorError(f"there is no service {answer}", "see the list")
        return answer

    def _flows(self) -> None:
        client = self._terminal.ask("clients (an address, a prefix; Enter: all)?")
        self._page("flows", replace(Asked(), client=client))

    def _packets(self) -> None:
        """A short capture: as many as fit a slow line."""
        address = self._terminal.ask("client or server (an address, a prefix; Enter: all)?")
        reasons = self._terminal.ask("what became of them (dropped, passed, translated, sent; Enter: all)?")
        number = self._box.capture(address, "", reasons, CAPTURE_S)
        self._terminal.say(f"capturing for {CAPTURE_S} s, {MOST_PACKETS} packets at most ...")
        shown = self._look("capture", Asked(capture=number))
        while not shown.over and len(shown.packets) < MOST_PACKETS and not shown.error:
            time.sleep(PAUSE_S)
            shown = self._look("capture", Asked(capture=number))
        if not shown.over and not shown.error:
            self._box.capture_end(number)
        self._show(packets.rows(shown.packets[:MOST_PACKETS], shown.reasons, WIDTH))
        self._snapshot = replace(shown, packets=(), missed=0, over=False)

    # ---- doing ----

    def _yes(self, question: str) -> bool:
        return self._terminal.ask(f"{question} (yes/no)").lower() in ("y", "yes")

    def _bypass(self) -> None:
        status = self._look("overview").status
        if status is None:
            raise OperatorError(self._snapshot.error, "")
        on = status["state"] != "BYPASS"
        question = "turn bypass ON, and protect nobody?" if on else "turn bypass OFF, and protect as configured?"
        if self._yes(question):
            self._box.bypass(on=on)
            self._terminal.say("done; no connection was cut")

    def _blocked(self) -> None:
        self._page("blocked")
        answer = self._terminal.ask("+ADDRESS blocks, -ADDRESS takes out, Enter: nothing")
        if answer.startswith("-"):
            self._box.unblock(answer[1:].strip())
            self._terminal.say("done")
        elif answer:
            given = self._terminal.ask("for how long (90s, 10m, 2h, 7d; Enter: for good)?")
            try:
                for_s = values.duration(1, MAX_BLOCK_S)(given) if given else 0
            except WrongValue as error:
                raise OperatorError(error.wrong, f"{error.right} would be right") from error
            self._box.block(answer.removeprefix("+").strip(), for_s, "")
            self._terminal.say("done")

    def _configuration(self) -> None:
        self._choose("configuration", self._settings, "Back")

    def _protect(self) -> None:
        name = self._which_service()
        protect = self._terminal.ask("always, auto (only during an attack) or off?") if name else ""
        if protect:
            self._apply(
                edits.set_protect(self._box.configuration("running"), name, protect), f"{name}: protect {protect}"
            )

    def _set_up(self) -> None:
        """The guide, as questions."""
        machine = self._box.machine()
        chosen = guide.roles(machine)
        self._show(guide.ports(machine, chosen, WIDTH))
        while port := self._terminal.ask("port whose LED shall blink (Enter: go on)?"):
            try:
                self._box.blink(port)
                self._terminal.say(f"the LED of {port} blinks for 5 s")
            except OperatorError as error:
                self._told(error)
        for side in () if machine["appliance"] else [one for one in guide.SIDES if one in chosen]:
            if port := self._terminal.ask(f"{side} (Enter: {chosen[side]})?"):
                chosen = guide.with_role(chosen, side, port)
        wanted = self._which_servers()
        if not wanted and chosen == guide.roles(machine):
            self._terminal.say("nothing was chosen: there is nothing to apply")
            return
        proposed = self._box.propose(wanted) if wanted else {"added": [], "narrowed": []}
        self._apply(guide.text(self._box.configuration("running"), machine, chosen, proposed), guide.COMMENT)

    def _which_servers(self) -> Sequence[Reply]:
        found = self._box.proposals()
        if not found:
            self._show(guide.servers(found, (), WIDTH))
            return ()
        self._terminal.say("servers that were seen, as services to be protected always:")
        self._say_all([f"  {number}  {one['name']:<12} {guide.described(one)}" for number, one in enumerate(found, 1)])
        answer = self._terminal.ask("numbers, with spaces between them (Enter: all, 0: none)?").split() or None
        numbers = range(1, len(found) + 1) if answer is None else [int(one) for one in answer if one.isdecimal()]
        return [one for number, one in enumerate(found, 1) if number in numbers]

    def _limits(self) -> None:
        name = self._which_service()
        if not name:
            return
        text = self._box.configuration("running")
        values = {}
        for one in limits.LIMITS:
            now = edits.value_of(text, one.path(name))
            self._terminal.say(f"{one.label}: {one.hint}")
            answer = self._terminal.ask(f"now {now or 'not set'} (Enter: as it is, -: not set)?")
            values[one.key] = "" if answer == "-" else answer or now
        self._apply(limits.set_limits(text, name, values), f"{name}: limits")

    def _new(self) -> None:
        name = self._terminal.ask("name of the service?")
        addresses = self._terminal.ask("its addresses (192.0.2.10, 192.0.2.32/28, 2001:db8::10)?") if name else ""
        ports = self._terminal.ask("its ports (80, 443, 8000-8100, or all)?") if addresses else ""
        if ports:
            text = edits.add_service(self._box.configuration("running"), name, addresses, ports, "always")
            self._apply(text, f"service {name} added")

    def _edit(self) -> None:
        """In the operator's own editor, again as long as there are mistakes."""
        text = self._box.configuration("file")
        while True:
            text = _edited(text)
            problems = self._box.check(text)["problems"]
            if not problems:
                self._apply(text, "")
                return
            self._show(changed.problems(problems, 1000))
            if not self._yes("edit again?"):
                return

    def _apply(self, text: str, comment: str) -> None:
        found = self._box.check(text)
        if found["problems"]:
            self._show(changed.problems(found["problems"], 1000))
            return
        diff = changed.unified(self._box.configuration("running"), text, ("in force", "new"))
        self._show(changed.question(diff, found["restarts"], CONFIRM_S))
        if diff and self._yes("apply it?"):
            number = self._box.apply(text, CONFIRM_S, comment)["number"]
            self._terminal.say(f"configuration {number} is in force for {CONFIRM_S} s: {KEEP}")

    def _confirm(self) -> None:
        self._terminal.say(f"configuration {self._box.confirm()['number']} stays in force")

    def _undo(self) -> None:
        self._terminal.say(f"configuration {self._box.rollback(None, 0)['number']} is in force again")

    def _backup(self) -> None:
        file = self._terminal.ask("file (/media/stick/box.levee; Enter: nothing)?")
        if file:
            secret = self._yes("with the secret? who has it can forge handshakes")
            self._terminal.say(backup_file.write(file, self._box.backup(without_secret=not secret)))
            self._terminal.say(backup_file.WAY_BACK)

    def _go_back(self) -> None:
        self._page("configuration")
        answer = self._terminal.ask("number (Enter: nothing)?")
        if answer.isdecimal():
            diff = changed.unified(
                self._box.configuration("running"), self._box.configuration(answer), ("in force", answer)
            )
            self._show(pages.differences(diff, "They are the same."))
            if diff and self._yes(f"apply it for {CONFIRM_S} s?"):
                self._box.rollback(int(answer), CONFIRM_S)
                self._terminal.say(f"configuration {answer} is in force for {CONFIRM_S} s: {KEEP}")


def _edited(text: str) -> str:
    """What the operator's editor leaves. Raises OperatorError where there is none."""
    chosen = os.environ.get("EDITOR")
    with tempfile.TemporaryDirectory(prefix="levee-") as folder:
        path = Path(folder) / "levee.yaml"
        path.write_text(text, encoding="utf-8")
        for editor in (chosen,) if chosen else EDITORS:
            try:
                done = subprocess.run([editor, str(path)], check=False)
            except OSError:
                continue
            if done.returncode != 0:
                raise OperatorError(f"{editor} ended with {done.returncode}", "nothing was changed")
            return path.read_text(encoding="utf-8")
    raise OperatorError("there is no editor", "export EDITOR=/path/to/one")
