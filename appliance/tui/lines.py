"""A widget that shows lines, lets one of them be chosen, and redraws only those that have changed.

Owns scrolling and the cursor. Everything on the screen but the fields of forms and the editor is one of these: so a
console, where each byte counts, is sent what is new and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from appliance.tui.view.line import Line, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events

    from appliance.tui.look import Look
    from appliance.tui.view.line import Role

REVERSE = Style(reverse=True)


class Lines(Widget):
    """`moving`: it has the keys that move, and the cursor on a line that can be chosen."""

    DEFAULT_CSS = "Lines { height: 1fr; width: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "far(-1)", show=False),
        Binding("end", "far(1)", show=False),
        Binding("enter", "choose", show=False),
    ]

    class Chosen(Message):
        """Enter, or the mouse, on a line with a key."""

        def __init__(self, lines: Lines, key: str) -> None:
            super().__init__()
            self.lines = lines
            self.key = key

        @property
        def control(self) -> Lines:
            """Where it was."""
            return self.lines

    def __init__(
        self,
        look: Look,
        *,
        moving: bool = False,
        name: str | None = None,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self.can_focus = moving
        self._styles: dict[Role, Style] = look.styles()
        self._letters = look.letters
        self._lines: list[Line] = []
        self._top = 0
        self._cursor: int | None = None

    # ---- content ----

    def show(self, lines: Sequence[Line]) -> None:
        """Other lines; the cursor stays with its key."""
        before, key = self._drawn(), self.key
        self._lines = list(lines)
        self._cursor = self._index(key)
        self._keep_in_sight()
        self._redraw(before)

    def restart(self) -> None:
        """From the top, before lines of another kind."""
        before = self._drawn()
        self._lines, self._top, self._cursor = [], 0, None
        self._redraw(before)

    @property
    def key(self) -> str | None:
        """Of the line with the cursor."""
        return None if self._cursor is None or self._cursor >= len(self._lines) else self._lines[self._cursor].key

    def _index(self, key: str | None) -> int | None:
        if not self.can_focus:
            return None
        with_keys = [index for index, one in enumerate(self._lines) if one.key is not None]
        same = [index for index in with_keys if self._lines[index].key == key]
        if same:
            return min(same, key=lambda index: abs(index - (self._cursor or 0)))
        return with_keys[0] if with_keys else None

    # ---- drawing ----

    def render_line(self, y: int) -> Strip:
        """One row, as wide as there is room."""
        width = self.size.width
        base = self._styles["text"]
        index = self._top + y
        if index >= len(self._lines):
            return Strip([Segment(" " * width, base)], width)
        marked = index == self._cursor and self.can_focus
        segments = []
        for text, role in self._lines[index].spans:
            style = self._styles[role]
            shown = plain(text) if self._letters else text
            segments.append(Segment(shown, style + REVERSE if marked else style))
        strip = Strip(segments).adjust_cell_length(width, base + REVERSE if marked else base)
        return strip.crop(0, width)

    def _drawn(self) -> list[tuple[Line | None, bool]]:
        shown = range(self._top, self._top + self.size.height)
        return [(self._lines[index] if index < len(self._lines) else None, index == self._cursor) for index in shown]

    def _redraw(self, before: Sequence[tuple[Line | None, bool]]) -> None:
        after = self._drawn()
        if len(after) != len(before):
            self.refresh()
            return
        changed = [row for row, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
        if changed:
            self.refresh(*(Region(0, row, self.size.width, 1) for row in changed))

    # ---- moving ----

    def action_move(self, step: int) -> None:
        """To the next line that can be chosen; without one, a line down or up."""
        before = self._drawn()
        if self._cursor is None:
            self._top += step
        else:
            index = self._cursor + step
            while 0 <= index < len(self._lines) and self._lines[index].key is None:
                index += step
            if 0 <= index < len(self._lines):
                self._cursor = index
            else:
                self._top += step  # what stands before the first, or behind the last, is seen too
        self._keep_in_sight(follow=self._cursor is not None and 0 <= self._cursor < len(self._lines))
        self._redraw(before)

    def action_page(self, step: int) -> None:
        """A screen down or up."""
        for _ in range(max(1, self.size.height - 1)):
            self.action_move(step)

    def action_far(self, step: int) -> None:
        """To an end."""
        before = self._drawn()
        with_keys = [index for index, one in enumerate(self._lines) if one.key is not None]
        if self._cursor is not None and with_keys:
            self._cursor = with_keys[0] if step < 0 else with_keys[-1]
        self._top = 0 if step < 0 else len(self._lines)
        self._keep_in_sight()
        self._redraw(before)

    def action_choose(self) -> None:
        """What is under the cursor."""
        if self.key is not None:
            self.post_message(self.Chosen(self, self.key))

    def on_click(self, event: events.Click) -> None:
        """The mouse chooses at once."""
        index = self._top + event.y
        if self.can_focus and index < len(self._lines) and self._lines[index].key is not None:
            before = self._drawn()
            self._cursor = index
            self._redraw(before)
            self.action_choose()

    def on_resize(self) -> None:
        """The cursor stays in sight."""
        self._keep_in_sight()
        self.refresh()

    def _keep_in_sight(self, *, follow: bool = True) -> None:
        height = max(1, self.size.height)
        self._top = max(0, min(self._top, len(self._lines) - height))
        if follow and self._cursor is not None:
            lowest = 0 if self._cursor == self._first_key() else self._cursor  # with the heading above the first
            self._top = max(self._cursor - height + 1, min(self._top, lowest))

    def _first_key(self) -> int | None:
        return next((index for index, one in enumerate(self._lines) if one.key is not None), None)
