"""The full screen: one page at a time between a banner and a line of keys.

Owns the keys and what they call; the pages themselves are lines made in view/. The control socket is asked in threads,
so a daemon that is slow or away never stops the keys. Called by commands/tui.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType

from appliance import values
from appliance.errors import OperatorError, WrongValue
from appliance.tui import poll
from appliance.tui.dialogs import Field, Form, Question, Told
from appliance.tui.editor import CONFIRM_S, Edit, Review, told
from appliance.tui.lines import Lines
from appliance.tui.view import changed, edits, frame, pages
from appliance.tui.view.line import line
from appliance.tui.view.snapshot import Asked, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from appliance.tui.box import Box
    from appliance.tui.look import Look
    from appliance.tui.view.line import Line

T = TypeVar("T")

MAX_BLOCK_S = 10 * 365 * 86400
ORDER = [name for _, name, _ in frame.PAGES]


class Body(Lines):
    """The open page. Tab is its own: a screen would go to the next field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.turn(1)", show=False),
        Binding("shift+tab", "app.turn(-1)", show=False),
    ]


class LeveeApp(App[None]):
    """Until q."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layers: base; }
    #banner { height: 2; }
    #tabs, #keys, #edit-title, #edit-keys { height: 1; }
    #problems { height: 0; }
    ModalScreen { align: center middle; }
    .window { width: 72; max-width: 95%; max-height: 95%; border: solid $primary; }
    .window Lines { height: 1fr; }
    .window .row { height: 1; }
    .window .label { width: 15; }
    .window .hint { height: 1; }
    #form-title, #form-keys { height: 2; }
    TextArea { scrollbar-size: 0 0; }
    Screen, .window { background: #12171d; }
    Input, Input:focus { background: #24405c; color: #f2f5f8; background-tint: transparent; }
    Screen:ansi, .window:ansi { background: ansi_black; }
    .window:ansi { border: solid ansi_cyan; }
    Input:ansi, Input:focus:ansi { background: ansi_blue; color: ansi_bright_white; }
    ModalScreen { background: #12171d 60%; }
    ModalScreen:ansi { background: transparent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(number, f"go('{name}')", show=False) for number, name, _ in frame.PAGES),
        Binding("right", "turn(1)", show=False),
        Binding("left", "turn(-1)", show=False),
        Binding("escape,backspace", "leave_page", show=False),
        Binding("question_mark,f1", "go('help')", show=False),
        Binding("h", "hour", show=False),
        Binding("b", "bypass", show=False),
        Binding("c", "keep", show=False),
        Binding("u", "undo", show=False),
        Binding("e", "edit", show=False),
        Binding("d", "file", show=False),
        Binding("n", "new", show=False),
        Binding("p", "protect", show=False),
        Binding("f", "filter", show=False),
        Binding("a", "add", show=False),
        Binding("x", "take_out", show=False),
        Binding("r", "return_to", show=False),
        Binding("q", "quit", show=False),
    ]

    def __init__(self, box: Box, look: Look, every_s: float) -> None:
        super().__init__()
        self.theme = "ansi-dark" if look.ansi else "textual-dark"
        self.title = "levee"
        self._box = box
        self._look = look
        self._every_s = every_s
        self._places: list[tuple[str, str]] = [("overview", "")]
        self._asked = Asked()
        self._snapshot = Snapshot()
        self._asking = False

    # ---- what is shown ----

    @property
    def page(self) -> str:
        """The open one."""
        return self._places[-1][0]

    def compose(self) -> ComposeResult:
        """From the top."""
        yield Lines(self._look, id="banner")
        yield Lines(self._look, id="tabs")
        yield Body(self._look, id="body", moving=True)
        yield Lines(self._look, id="keys")

    def on_mount(self) -> None:
        """Asks at once, and then again and again."""
        self._body.focus()
        self.set_interval(self._every_s, self._poll)
        self._poll()

    def on_resize(self) -> None:
        """Another size, other lines."""
        self.call_after_refresh(self._draw)

    @property
    def _body(self) -> Lines:
        return self.screen_stack[0].query_one("#body", Lines)

    def _part(self, name: str) -> Lines:
        return self.screen_stack[0].query_one(f"#{name}", Lines)

    def _draw(self) -> None:
        width, snapshot = self.size.width, self._snapshot
        self._part("banner").show(frame.banner(snapshot, width))
        self._part("tabs").show([frame.tabs(self._places[0][0], width)])
        self._part("keys").show([frame.keys(self.page, snapshot, width)])
        self._body.show(self._lines(width, self._body.size.height))

    def _lines(self, width: int, height: int) -> list[Line]:
        page, name = self._places[-1]
        if page == "service":
            return pages.service(name, self._snapshot, width)
        if page == "entry":
            title = line(f" From what is in force to entry {name}", "title")
            return [title, *pages.differences(self._asked.text, "They are the same.")]
        if page == "help":
            return pages.help_page()
        return pages.BY_NAME[page](self._snapshot, self._asked, width, height)

    def _poll(self) -> None:
        if not self._asking:
            self._asking = True
            self._ask(self.page, self._asked, self._snapshot)

    @work(thread=True)
    def _ask(self, page: str, asked: Asked, last: Snapshot) -> None:
        found = poll.ask(self._box, page, asked, last)
        self.call_from_thread(self._heard, found)

    def _heard(self, found: Snapshot) -> None:
        self._asking = False
        if not self.is_running or not self.screen_stack:
            return  # somebody left while it was on its way
        self._snapshot = found
        self._draw()

    def _show(self, places: list[tuple[str, str]]) -> None:
        self._places = places
        self._body.restart()
        self._draw()
        self._poll()

    # ---- going somewhere ----

    def action_go(self, page: str) -> None:
        """To a page, by its number."""
        if len(self.screen_stack) == 1:
            self._show([*self._places, (page, "")] if page == "help" else [(page, "")])

    def action_turn(self, step: int) -> None:
        """To the next page, or the one before."""
        if len(self.screen_stack) == 1:
            self._show([(ORDER[(ORDER.index(self._places[0][0]) + step) % len(ORDER)], "")])

    def action_leave_page(self) -> None:
        """To where this page was opened."""
        if len(self._places) > 1:
            self._show(self._places[:-1])

    def on_lines_chosen(self, event: Lines.Chosen) -> None:
        """Enter on a line."""
        if self.page in ("overview", "services", "events", "backends"):
            self._show([*self._places, ("service", event.key)])
        elif self.page == "configuration":
            self._compare(event.key)
        elif self.page == "flows":
            self._block(event.key)

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

    def action_hour(self) -> None:
        """The last hour instead of the last minute."""
        self._asked = replace(self._asked, hour=not self._asked.hour)
        self._draw()

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

    def _try(self, call: Callable[[], T], then: Callable[[T], object]) -> None:
        """In a thread: what came of it is told in the loop."""
        try:
            found = call()
        except OperatorError as error:
            self.call_from_thread(self._failed, error)
        else:
            self.call_from_thread(then, found)

    def _failed(self, error: OperatorError) -> None:
        self.push_screen(Told(self._look, told(error)))

    @work(thread=True)
    def _do(self, call: Callable[[], object]) -> None:
        self._try(call, lambda _: self._poll())

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
        if self._pending():
            self._do(self._box.confirm)

    @work
    async def action_undo(self) -> None:
        """What is on trial is taken back."""
        if self._pending() and await self.push_screen_wait(Question(self._look, ("Take the change back?",))):
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
    async def action_protect(self) -> None:
        """Another protection for a service."""
        name = self._places[-1][1] if self.page == "service" else self._body.key if self.page == "services" else None
        status = self._snapshot.status
        if name is None or status is None or name not in status["services"]:
            return
        now = status["services"][name]["protect"]
        fields = (Field("protect", "Protect", "always, auto (only during an attack) or off", now),)
        found = await self.push_screen_wait(Form(self._look, f"Protection of {name}", fields))
        if found is not None and (text := await self._text("running")) is not None:
            comment = f"{name}: protect {found['protect']}"
            await self._edited(lambda: edits.set_protect(text, name, found["protect"]), comment)

    async def _edited(self, make: Callable[[], str], comment: str) -> None:
        try:
            text = make()
        except OperatorError as error:
            self._failed(error)
            return
        await self._change(text, comment)
