"""Small windows over a page: a question, a message, fields to fill in.

Owns their keys: y and n, Enter, Esc. Each is dismissed with what was answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input

from appliance.tui.lines import Lines
from appliance.tui.view.line import Line, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.tui.look import Look


class Question(ModalScreen[bool]):
    """Yes or no; everything but y is no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", show=False),
        Binding("n,escape,q", "answer(False)", show=False),
    ]

    def __init__(self, look: Look, lines: Sequence[str]) -> None:
        super().__init__()
        self._look = look
        self._shown = [*(line(f" {one}") for one in lines), Line(), YES_NO]

    def compose(self) -> ComposeResult:
        """The question, and the two keys."""
        window = Vertical(Lines(self._look), classes="window")
        window.styles.height = len(self._shown) + 2
        yield window

    def on_mount(self) -> None:
        """There is nothing to wait for."""
        self.query_one(Lines).show(self._shown)

    def action_answer(self, answer: bool) -> None:
        """The end of it."""
        self.dismiss(answer)


YES_NO = Line(((" y", "key"), (" yes   ", "text"), ("n", "key"), (" no", "text")))


class Told(ModalScreen[None]):
    """Something to be read; any key ends it."""

    def __init__(self, look: Look, lines: Sequence[Line]) -> None:
        super().__init__()
        self._look = look
        self._shown = [*lines, Line(), line(" any key", "key")]

    def compose(self) -> ComposeResult:
        """The text."""
        window = Vertical(Lines(self._look), classes="window")
        window.styles.height = len(self._shown) + 2
        yield window

    def on_mount(self) -> None:
        """There is nothing to wait for."""
        self.query_one(Lines).show(self._shown)

    def on_key(self, event: events.Key) -> None:
        """The end of it; the key does nothing else."""
        event.stop()
        event.prevent_default()
        self.dismiss()


@dataclass(frozen=True)
class Field:
    """One thing to fill in. `hint`: an example, shown below; `wrong`: in its place, what was wrong, what is right."""

    name: str
    label: str
    hint: str = ""
    value: str = ""
    wrong: tuple[str, ...] = ()


class Form(ModalScreen[dict[str, str] | None]):
    """Fields one below the other: Enter goes to the next, behind the last it is done."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    def __init__(self, look: Look, title: str, fields: Sequence[Field]) -> None:
        super().__init__()
        self._look = look
        self._title = title
        self._fields = fields

    def compose(self) -> ComposeResult:
        """A label and its field, and below them an example."""
        parts: list[Widget] = [Lines(self._look, id="form-title")]
        for field in self._fields:
            shown = Input(field.value, compact=True, id=f"field-{field.name}")
            parts.append(Horizontal(Lines(self._look, classes="label"), shown, classes="row"))
            hint = Lines(self._look, classes="hint")
            hint.styles.height = len(field.wrong) or 1
            parts.append(hint)
        parts.append(Lines(self._look, id="form-keys"))
        window = Vertical(*parts, classes="window")
        window.styles.height = sum(1 + (len(one.wrong) or 1) for one in self._fields) + 4 + 2
        yield window

    def on_mount(self) -> None:
        """The first field is ready to be filled in."""
        self.query_one("#form-title", Lines).show([line(f" {self._title}", "title"), Line()])
        for label, field in zip(self.query(".label").results(Lines), self._fields, strict=True):
            label.show([line(f" {field.label}")])
        for hint, field in zip(self.query(".hint").results(Lines), self._fields, strict=True):
            shown = [line(f"{'':<2}{one}", "bad") for one in field.wrong]
            hint.show(shown or [line(f"{'':<15}{field.hint}", "dim")])
        keys = Line(((" Enter", "key"), (" next, behind the last: done   ", "text"), ("Esc", "key"), (" back", "text")))
        self.query_one("#form-keys", Lines).show([Line(), keys])
        for one in self.query(Input):
            one.cursor_blink = False  # each blink is sent to the terminal
        first = next((number for number, one in enumerate(self._fields) if one.wrong), 0)
        list(self.query(Input))[first].focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in a field."""
        event.stop()
        inputs = list(self.query(Input))
        if event.input is inputs[-1]:
            values = [one.value.strip() for one in inputs]
            self.dismiss({field.name: value for field, value in zip(self._fields, values, strict=True)})
        else:
            inputs[inputs.index(event.input) + 1].focus()

    def action_leave(self) -> None:
        """Nothing is done."""
        self.dismiss(None)
