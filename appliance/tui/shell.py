"""What every full screen has: a banner, a page, a line of keys; asking again and again, and going from page to page.

Owns the pages and how they are reached. Nothing in here can change the box: that is app.py's, and Watching, the screen
for a console before login, is this and nothing else. The control socket is asked in threads, so a daemon that is slow
or away never stops the keys.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType

from appliance.errors import OperatorError
from appliance.tui import poll
from appliance.tui.dialogs import Told
from appliance.tui.editor import told
from appliance.tui.lines import Lines
from appliance.tui.view import box as box_page
from appliance.tui.view import frame, packets, pages
from appliance.tui.view.line import line
from appliance.tui.view.snapshot import Asked, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from appliance.tui.box import Box
    from appliance.tui.look import Look
    from appliance.tui.view.line import Line

T = TypeVar("T")

ORDER = [name for _, name, _ in frame.PAGES]


class Body(Lines):
    """The open page. Tab is its own: a screen would go to the next field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.turn(1)", show=False),
        Binding("shift+tab", "app.turn(-1)", show=False),
    ]


class Shell(App[None]):
    """Until q."""

    ENABLE_COMMAND_PALETTE = False
    BODY: ClassVar[type[Lines]] = Body
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
        yield self.BODY(self._look, id="body", moving=True)
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
        return self._part("body")

    def _part(self, name: str) -> Lines:
        return self.screen_stack[0].query_one(f"#{name}", Lines)

    def _draw(self) -> None:
        width = self.size.width
        self._part("banner").show(self._banner(width))
        self._part("tabs").show([self._tabs(width)])
        self._part("keys").show([self._keys(width)])
        self._body.show(self._lines(width, self._body.size.height))

    def _banner(self, width: int) -> list[Line]:
        return frame.banner(self._snapshot, width)

    def _tabs(self, width: int) -> Line:
        return frame.tabs(self._places[0][0], width)

    def _keys(self, width: int) -> Line:
        return frame.keys(self.page, self._snapshot, width)

    def _lines(self, width: int, height: int) -> list[Line]:
        page, name = self._places[-1]
        if page == "service":
            return pages.service(name, self._snapshot, width)
        if page == "entry":
            title = line(f" From what is in force to entry {name}", "title")
            return [title, *pages.differences(self._asked.text, "They are the same.")]
        if page == "capture":
            return packets.page(self._snapshot, width)
        if page == "box":
            return box_page.page(self._snapshot, width)
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
        self.call_from_thread(self._heard, found, asked.capture)

    def _heard(self, found: Snapshot, capture: int) -> None:
        self._asking = False
        if not self.is_running or not self.screen_stack:
            return  # somebody left while it was on its way
        if capture != self._asked.capture:  # another one was begun meanwhile
            found = replace(found, packets=(), missed=0, over=False)
        self._snapshot = found
        self._draw()

    def _show(self, places: list[tuple[str, str]]) -> None:
        self._places = places
        self._body.restart()
        self._draw()
        self._poll()

    # ---- going somewhere ----

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of a page do nothing while something else is over it."""
        known = (one for bindings in self._bindings.key_to_bindings.values() for one in bindings)
        if len(self.screen_stack) > 1 and any(action == one.action.partition("(")[0] for one in known):
            return False
        return super().check_action(action, parameters)

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

    def action_hour(self) -> None:
        """The last hour instead of the last minute."""
        self._asked = replace(self._asked, hour=not self._asked.hour)
        self._draw()

    # ---- calls ----

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


class Watching(Shell, inherit_bindings=False):
    """The overview alone, for whoever passes by: no client's address, and no key that changes anything.

    Enter ends it, and so makes room for a login.
    """

    BODY = Lines
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h", "hour", show=False),
        Binding("enter", "quit", show=False, priority=True),  # before the cursor takes it
    ]

    def __init__(self, box: Box, look: Look, every_s: float) -> None:
        super().__init__(box, look, every_s)
        self._asked = Asked(watching=True)

    def _banner(self, width: int) -> list[Line]:
        return frame.banner(self._snapshot, width, watching=True)

    def _tabs(self, width: int) -> Line:  # noqa: ARG002
        return frame.WATCHING_TITLE

    def _keys(self, width: int) -> Line:  # noqa: ARG002
        return frame.watching_keys()
