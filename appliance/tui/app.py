"""The full screen as an operator uses it: everything of shell.py, and the keys that do something.

Owns those keys and what they call: the control socket's methods, by way of box.py. Called by commands/tui.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.binding import Binding, BindingType

from appliance import values
from appliance.errors import OperatorError, WrongValue
from appliance.tui import backup_file
from appliance.tui.box_keys import BY_KEY, WINDOW_COLUMNS, BoxKeys
from appliance.tui.dialogs import Field, Form, Question, Told
from appliance.tui.editor import CONFIRM_S, Edit, Review
from appliance.tui.guide import Guide
from appliance.tui.view import changed, edits, guide, limits
from appliance.tui.view.line import line, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from appliance.tui.lines import Lines

MAX_BLOCK_S = 10 * 365 * 86400
CAPTURE_S, MAX_CAPTURE_S = 30, 3600


class LeveeApp(BoxKeys):
    """All keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "bypass", show=False),
        Binding("c", "keep", show=False),
        Binding("u", "undo", show=False),
        Binding("e", "edit", show=False),
        Binding("d", "file", show=False),
        Binding("n", "new", show=False),
        Binding("m", "change_service", show=False),
        Binding("p", "protect", show=False),
        Binding("l", "limits", show=False),
        Binding("g", "guide", show=False),
        Binding("f", "filter", show=False),
        Binding("t", "capture", show=False),
        Binding("a", "add", show=False),
        Binding("x", "take_out", show=False),
        Binding("r", "return_to", show=False),
        Binding("w", "backup", show=False),
    ]

    # ---- going somewhere ----

    def on_lines_chosen(self, event: Lines.Chosen) -> None:
        """Enter on a line."""
        if self.page in ("overview", "services", "events", "backends"):
            self._show([*self._places, ("service", event.key)])
        elif self.page == "configuration":
            self._compare(event.key)
        elif self.page == "flows":
            self._block(event.key)
        elif self.page == "box":
            self.run_worker(self.run_action(BY_KEY[event.key]))

    @work(thread=True)
    def _compare(self, number: str) -> None:
        self._try(
            lambda: changed.unified(
                self._box.configuration("running"), self._box.configuration(number), ("in force", f"entry {number}")
            ),
            lambda text: self._compared(number, text),
        )

    def _compared(self, number: str, text: str) -> None:
        self._asked = replace(self._asked, text=text)
        self._show([*self._places, ("entry", number)])

    @work
    async def action_filter(self) -> None:
        """Only some connections."""
        if self.page == "service":
            self._asked = replace(self._asked, client="", service=self._places[-1][1])
            self._show([*self._places, ("flows", "")])
        elif self.page == "flows":
            fields = (
                Field("client", "Clients", "an address, a prefix or a range; empty: all", self._asked.client),
                Field("service", "Service", "its name; empty: all", self._asked.service),
            )
            found = await self.push_screen_wait(Form(self._look, "Which connections", fields))
            if found is not None:
                self._asked = replace(self._asked, client=found["client"], service=found["service"])
                self._show(self._places)

    # ---- doing something ----

    @work(thread=True)
    def _do(self, call: Callable[[], object]) -> None:
        self._try(call, lambda _: self._poll())

    @work
    async def action_capture(self) -> None:
        """Packets, with what the box does with each."""
        if self.page not in ("service", "flows", "capture"):
            return
        service = self._places[-1][1] if self.page == "service" else self._asked.service
        fields = (
            Field("address", "Client", "or server: an address, a prefix or a range; empty: all", self._asked.client),
            Field("service", "Service", "its name; empty: all", service),
            Field("reasons", "What became", "dropped, passed, translated, sent, or reasons; empty: all"),
            Field("seconds", "For how long", "90s, 10m", f"{CAPTURE_S}s"),
        )
        found = await self.push_screen_wait(Form(self._look, "Which packets", fields))
        if found is None:
            return
        try:
            seconds = values.duration(1, MAX_CAPTURE_S)(found["seconds"])
        except WrongValue as error:
            self._failed(OperatorError(error.wrong, f"{error.right} would be right"))
            return
        before = 0 if self._snapshot.over else self._asked.capture

        def begun() -> int:
            if before:
                with contextlib.suppress(OperatorError):  # it is over already
                    self._box.capture_end(before)
            return self._box.capture(found["address"], found["service"], found["reasons"], seconds)

        self._begin(begun)

    @work(thread=True)
    def _begin(self, call: Callable[[], int]) -> None:
        self._try(call, self._capturing)

    def _capturing(self, number: int) -> None:
        self._asked = replace(self._asked, capture=number)
        self._snapshot = replace(self._snapshot, packets=(), missed=0, over=False)
        places = self._places[:-1] if self.page == "capture" else self._places
        self._show([*places, ("capture", "")])

    @work
    async def action_bypass(self) -> None:
        """On or off, with a question."""
        status = self._snapshot.status
        if status is None:
            return
        on = status["state"] != "BYPASS"
        lines = (
            (
                "Turn bypass ON? Then nobody is protected:",
                "new connections go straight to the servers.",
                "Open connections go on. b ends it.",
            )
            if on
            else ("Turn bypass OFF, and protect as configured?", "Open connections go on.")
        )
        if await self.push_screen_wait(Question(self._look, lines)):
            self._do(lambda: self._box.bypass(on=on))

    def _pending(self) -> bool:
        status = self._snapshot.status
        return status is not None and status["configuration"]["pending"] is not None

    def action_keep(self) -> None:
        """What is on trial stays."""
        if self.box_on_trial():
            self.box_kept(kept=True)
        elif self._pending():
            self._do(self._box.confirm)

    @work
    async def action_undo(self) -> None:
        """What is on trial is taken back."""
        if self.box_on_trial():
            self.box_kept(kept=False)
        elif self._pending() and await self.push_screen_wait(Question(self._look, ("Take the change back?",))):
            self._do(lambda: self._box.rollback(None, 0))

    @work
    async def action_return_to(self) -> None:
        """Back to the entry under the cursor."""
        number = (
            self._places[-1][1] if self.page == "entry" else self._body.key if self.page == "configuration" else None
        )
        if number is None:
            return
        question = (f"Put configuration {number} in force again,", f"on trial for {CONFIRM_S} s?")
        if await self.push_screen_wait(Question(self._look, question)):
            self._do(lambda: self._box.rollback(int(number), CONFIRM_S))

    @work
    async def action_backup(self) -> None:
        """Everything worth keeping, in a file of whoever sits here."""
        if self.page != "configuration":
            return
        fields = (
            Field("file", "File", "/media/stick/box.levee: a mounted stick, or any folder of yours"),
            Field("secret", "With secret", "yes or no: who has it can forge handshakes", "yes"),
        )
        found = await self.push_screen_wait(Form(self._look, "Backup of this box", fields))
        if found is not None and found["file"]:
            self._backup(found["file"], without_secret=found["secret"].lower() not in ("yes", "y"))

    @work(thread=True)
    def _backup(self, file: str, *, without_secret: bool) -> None:
        self._try(
            lambda: backup_file.write(file, self._box.backup(without_secret=without_secret)),
            lambda text: self.push_screen(
                Told(self._look, [*wrapped(text, WINDOW_COLUMNS), line(f" {backup_file.WAY_BACK}", "dim")])
            ),
        )

    @work
    async def action_add(self) -> None:
        """A source is blocked."""
        if self.page == "blocked":
            fields = (
                Field("prefix", "Source", "192.0.2.7 or 2001:db8::/32"),
                Field("for", "For how long", "90s, 10m, 2h, 7d; empty: for good"),
                Field("comment", "Comment"),
            )
            await self._add(Form(self._look, "Block a source", fields))

    @work
    async def _block(self, address: str) -> None:
        fields = (
            Field("prefix", "Source", "its open connections are cut", address),
            Field("for", "For how long", "90s, 10m, 2h, 7d; empty: for good", "1h"),
            Field("comment", "Comment"),
        )
        await self._add(Form(self._look, "Block this client?", fields))

    async def _add(self, form: Form) -> None:
        found = await self.push_screen_wait(form)
        if found is None or not found["prefix"]:
            return
        try:
            for_s = values.duration(1, MAX_BLOCK_S)(found["for"]) if found["for"] else 0
        except WrongValue as error:
            self._failed(OperatorError(error.wrong, f"{error.right} would be right"))
            return
        self._do(lambda: self._box.block(found["prefix"], for_s, found["comment"]))

    @work
    async def action_take_out(self) -> None:
        """The source under the cursor."""
        prefix = self._body.key if self.page == "blocked" else None
        if prefix is None:
            return
        if await self.push_screen_wait(Question(self._look, (f"Take {prefix} out of the list?",))):
            self._do(lambda: self._box.unblock(prefix))

    # ---- changing the configuration ----

    async def _text(self, of: str) -> str | None:
        try:
            return await asyncio.to_thread(self._box.configuration, of)
        except OperatorError as error:
            self._failed(error)
            return None

    async def _change(self, text: str, comment: str, *, edit: bool = False) -> None:
        """Edited, reviewed, edited again, until it is applied or left."""
        problems = ()
        while True:
            if edit:
                edited = await self.push_screen_wait(Edit(self._box, self._look, text, problems))
                if edited is None:
                    return
                text = edited
            if await self.push_screen_wait(Review(self._box, self._look, text, comment)) != "edit":
                self._poll()
                return
            found = await asyncio.to_thread(self._box.check, text)
            problems, edit = tuple(found["problems"]), True

    @work
    async def action_edit(self) -> None:
        """The file itself."""
        if self.page == "configuration" and (text := await self._text("file")) is not None:
            await self._change(text, "", edit=True)

    @work
    async def action_file(self) -> None:
        """What somebody wrote to the file."""
        if self.page == "configuration" and (text := await self._text("file")) is not None:
            await self._change(text, "")

    @work
    async def action_new(self) -> None:
        """A service more."""
        if self.page != "services":
            return
        fields = (
            Field("name", "Name", "web"),
            Field("addresses", "Addresses", "192.0.2.10, 192.0.2.32/28, 2001:db8::10"),
            Field("ports", "Ports", "80, 443, 8000-8100, or all", "80, 443"),
            Field("protect", "Protect", "always, auto or off", "always"),
        )
        found = await self.push_screen_wait(Form(self._look, "A new service", fields))
        if found is not None and (text := await self._text("running")) is not None:
            await self._edited(lambda: edits.add_service(text, **found), f"service {found['name']} added")

    @work
    async def action_change_service(self) -> None:
        """Its addresses, ports and protection."""
        name = self._service()
        if name is None or (text := await self._text("running")) is None:
            return
        try:
            now = {key: edits.value_of(text, ("services", name, key)) for key in ("addresses", "ports", "protect")}
            now["protect"] = now["protect"] or "always"
        except OperatorError as error:
            self._failed(error)
            return
        fields = (
            Field("addresses", "Addresses", "192.0.2.10, 192.0.2.32/28, 2001:db8::10", now["addresses"]),
            Field("ports", "Ports", "80, 443, 8000-8100, or all", now["ports"]),
            Field("protect", "Protect", "always, auto or off", now["protect"]),
        )
        found = await self.push_screen_wait(Form(self._look, f"The service {name}", fields))
        if found is not None and found != now:
            await self._edited(lambda: edits.change_service(text, name, now, found), f"service {name} changed")

    @work
    async def action_protect(self) -> None:
        """Another protection for a service."""
        if self.page == "box":
            self.action_box_shutdown()
        status, name = self._snapshot.status, self._service()
        if name is None or status is None:
            return
        now = status["services"][name]["protect"]
        fields = (Field("protect", "Protect", "always, auto (only during an attack) or off", now),)
        found = await self.push_screen_wait(Form(self._look, f"Protection of {name}", fields))
        if found is not None and (text := await self._text("running")) is not None:
            comment = f"{name}: protect {found['protect']}"
            await self._edited(lambda: edits.set_protect(text, name, found["protect"]), comment)

    @work
    async def action_guide(self) -> None:
        """Ports and servers, step by step."""
        if self.page in ("overview", "services"):
            text = await self.push_screen_wait(Guide(self._box, self._look))
            if text is not None:
                await self._change(text, guide.COMMENT)

    @work
    async def action_limits(self) -> None:
        """What one source may have of a service."""
        name = self._service()
        if name is None or (text := await self._text("running")) is None:
            return
        try:
            fields = tuple(
                Field(one.key, one.label, one.hint, edits.value_of(text, one.path(name))) for one in limits.LIMITS
            )
        except OperatorError as error:
            self._failed(error)
            return
        found = await self.push_screen_wait(Form(self._look, f"Limits of each source of {name}", fields))
        if found is not None:
            await self._edited(lambda: limits.set_limits(text, name, found), f"{name}: limits")

    def _service(self) -> str | None:
        """The open one, or the one under the cursor."""
        name = self._places[-1][1] if self.page == "service" else self._body.key if self.page == "services" else None
        status = self._snapshot.status
        return name if status is not None and name in status["services"] else None

    async def _edited(self, make: Callable[[], str], comment: str) -> None:
        try:
            text = make()
        except OperatorError as error:
            self._failed(error)
            return
        await self._change(text, comment)
