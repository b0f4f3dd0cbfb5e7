"""The configuration as text: edited, checked, compared, and put in force on trial.

Owns two screens. Edit shows the text with its mistakes below it, each a line to go to; Review shows what would change,
and asks. Both let the daemon judge the text: nothing here knows a key of the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import TextArea

from appliance.errors import ConfigError, OperatorError
from appliance.tui.dialogs import Told
from appliance.tui.lines import Lines
from appliance.tui.view import changed
from appliance.tui.view.frame import key_line
from appliance.tui.view.line import Line, line, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appliance.tui.box import Box, Reply
    from appliance.tui.look import Look

T = TypeVar("T")

CONFIRM_S = 120
SHOWN_PROBLEMS = 4
WINDOW_COLUMNS = 70


class Work(Screen[str | None]):
    """What both have in common: the box, calls that wait in a thread, and errors that are shown."""

    def __init__(self, box: Box, look: Look) -> None:
        super().__init__()
        self.box = box
        self.look = look

    @work(thread=True, exit_on_error=True)
    def ask(self, call: Callable[[], T], then: Callable[[T], object]) -> None:
        """Calls in a thread, and goes on here; an error is shown, and nothing has changed."""
        try:
            found = call()
        except OperatorError as error:
            self.app.call_from_thread(self.failed, error)
        else:
            self.app.call_from_thread(then, found)

    def failed(self, error: OperatorError) -> None:
        """Says it."""
        self.app.push_screen(Told(self.look, told(error)))


def told(error: OperatorError) -> list[Line]:
    """An error as it is shown."""
    if isinstance(error, ConfigError):
        return [line(f" {one}", "bad") for one in error.message.splitlines()]
    hint = wrapped(error.hint, WINDOW_COLUMNS, "dim") if error.hint else []
    return [*wrapped(error.message, WINDOW_COLUMNS, "bad"), *hint]


class Edit(Work):
    """The text. Dismissed with what is to be reviewed, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2,ctrl+s", "check", show=False, priority=True),
        Binding("f3", "problems", show=False, priority=True),
        Binding("escape", "leave", show=False, priority=True),
    ]

    def __init__(self, box: Box, look: Look, text: str, problems: Sequence[Reply] = ()) -> None:
        super().__init__(box, look)
        self._text = text
        self._problems = problems
        self._leaving = False

    def compose(self) -> ComposeResult:
        """From the top: title, text, mistakes, keys."""
        yield Lines(self.look, id="edit-title")
        yield TextArea(self._text, show_line_numbers=True, compact=True, tab_behavior="indent", soft_wrap=False)
        yield Lines(self.look, id="problems", moving=True)
        yield Lines(self.look, id="edit-keys")

    def on_mount(self) -> None:
        """The cursor is in the text."""
        self.query_one("#edit-title", Lines).show(
            [line(" The configuration; nothing is in force before it is applied", "title")]
        )
        keys = key_line(
            ("F2", "Check, then apply"), ("F3", "The mistakes"), ("Enter", "on one: go there"), ("Esc", "Leave")
        )
        self.query_one("#edit-keys", Lines).show([keys])
        self._show_problems()
        area = self.query_one(TextArea)
        area.cursor_blink = False  # each blink is sent to the terminal
        area.focus()

    def _show_problems(self) -> None:
        shown = self.query_one("#problems", Lines)
        shown.styles.height = min(SHOWN_PROBLEMS, len(self._problems))
        shown.restart()
        shown.show(changed.problems(self._problems, self.size.width or 80))
        if self._problems:
            self._go_to(f"{self._problems[0]['line']}:{self._problems[0]['column']}")

    def _go_to(self, place: str) -> None:
        row, column = (int(part) - 1 for part in place.split(":"))
        area = self.query_one(TextArea)
        area.move_cursor((min(row, area.document.line_count - 1), column))
        area.focus()

    def on_lines_chosen(self, event: Lines.Chosen) -> None:
        """A mistake: to its place."""
        event.stop()
        self._go_to(event.key)

    def action_problems(self) -> None:
        """To the list, and back."""
        shown = self.query_one("#problems", Lines)
        (self.query_one(TextArea) if shown.has_focus else shown).focus()

    def action_check(self) -> None:
        """The daemon says what is wrong; a right text is reviewed."""
        text = self.query_one(TextArea).text
        self.ask(lambda: self.box.check(text), lambda found: self._checked(text, found))

    def _checked(self, text: str, found: Reply) -> None:
        self._problems = found["problems"]
        self._show_problems()
        if not self._problems:
            self.dismiss(text)

    def action_leave(self) -> None:
        """A text that was changed is not thrown away by one key."""
        if self.query_one(TextArea).text == self._text or self._leaving:
            self.dismiss(None)
            return
        self._leaving = True
        self.query_one("#edit-keys", Lines).show(
            [line(" The text was changed. Esc again: throw it away. F2: check, then apply", "warn")]
        )


class Review(Work):
    """What would be changed. Dismissed with "edit" where somebody has to put a mistake right, else None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "apply", show=False),
        Binding("e", "edit", show=False),
        Binding("escape,n,q", "leave", show=False),
    ]

    def __init__(self, box: Box, look: Look, text: str, comment: str) -> None:
        super().__init__(box, look)
        self.text = text
        self._comment = comment
        self._ready = False

    def compose(self) -> ComposeResult:
        """Title, differences, keys."""
        yield Lines(self.look, id="edit-title")
        yield Lines(self.look, id="review", moving=True)
        yield Lines(self.look, id="edit-keys")

    def on_mount(self) -> None:
        """Asks what there is to say."""
        self.query_one("#edit-title", Lines).show([line(" What would be changed", "title")])
        self.query_one("#edit-keys", Lines).show([line(" checking ...", "dim")])
        self.query_one("#review", Lines).focus()
        self.ask(lambda: (self.box.configuration("running"), self.box.check(self.text)), self._known)

    def _known(self, found: tuple[str, Reply]) -> None:
        running, check = found
        if check["problems"]:
            self.dismiss("edit")
            return
        diff = changed.unified(running, self.text, ("in force", "new"))
        self._ready = bool(diff)
        self.query_one("#review", Lines).show(changed.question(diff, check["restarts"], CONFIRM_S))
        apply = (("y", f"Apply for {CONFIRM_S} s"),) if diff else ()
        self.query_one("#edit-keys", Lines).show(
            [key_line(*apply, ("e", "Edit"), ("Esc", "Leave, nothing is changed"))]
        )

    def action_apply(self) -> None:
        """On trial."""
        if self._ready:
            self._ready = False
            self.query_one("#edit-keys", Lines).show([line(" applying ...", "dim")])
            self.ask(lambda: self.box.apply(self.text, CONFIRM_S, self._comment), lambda _: self.dismiss(None))

    def failed(self, error: OperatorError) -> None:
        """It was not done; the text can be edited."""
        super().failed(error)
        self.query_one("#edit-keys", Lines).show([key_line(("e", "Edit"), ("Esc", "Leave, nothing is changed"))])

    def action_edit(self) -> None:
        """Back to the text."""
        self.dismiss("edit")

    def action_leave(self) -> None:
        """Nothing is changed."""
        self.dismiss(None)
