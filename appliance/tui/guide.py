"""The guide of a first set-up, full screen: the two ports, then the servers that were seen.

Owns one screen with two steps and its keys. Looks again and again: a link that comes up and a server that is heard are
shown. Dismissed with the text of a configuration, which is reviewed and applied like any other, or with None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from appliance.errors import OperatorError
from appliance.tui.editor import Work
from appliance.tui.lines import Lines
from appliance.tui.view import guide
from appliance.tui.view.frame import key_line
from appliance.tui.view.line import line

if TYPE_CHECKING:
    from appliance.tui.box import Box, Reply
    from appliance.tui.look import Look

LOOK_S = 2.0
NOTHING: Reply = {"added": [], "narrowed": []}


class Guide(Work):
    """Ports, Enter, servers, n."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "blink", show=False),
        Binding("o", "role('outside')", show=False),
        Binding("i", "role('inside')", show=False),
        Binding("n", "next", show=False),
        Binding("escape,q", "back", show=False),
    ]

    def __init__(self, box: Box, look: Look) -> None:
        super().__init__(box, look)
        self._machine: Reply | None = None
        self._proposals: list[Reply] = []
        self._chosen: dict[str, str] = {}
        self._left_out: set[str] = set()
        self._at_servers = False
        self._said = "asking ..."

    def compose(self) -> ComposeResult:
        """Title, the step, keys."""
        yield Lines(self.look, id="edit-title")
        yield Lines(self.look, id="guide", moving=True)
        yield Lines(self.look, id="edit-keys")

    def on_mount(self) -> None:
        """Asks at once, and then again and again."""
        self.query_one("#edit-title", Lines).show([line(" Set up: nothing is in force before it is applied", "title")])
        self.query_one("#guide", Lines).focus()
        self._draw()
        self.set_interval(LOOK_S, self._ask)
        self._ask()

    @work(thread=True, exclusive=True, group="look")
    def _ask(self) -> None:
        try:
            found = self.box.machine(), self.box.proposals()
        except OperatorError as error:
            self.app.call_from_thread(self._say, error.message)
        else:
            self.app.call_from_thread(self._heard, *found)

    def _heard(self, machine: Reply, proposals: list[Reply]) -> None:
        if self._machine is None:
            self._chosen, self._said = guide.roles(machine), ""
        self._machine, self._proposals = machine, proposals
        self._draw()

    def _say(self, text: str) -> None:
        self._said = text
        self._draw()

    def _draw(self) -> None:
        if not self.is_mounted:
            return  # somebody left while it was on its way
        width = self.app.size.width
        keys = [("Enter", "Take it or not"), ("n", "Next: review"), ("Esc", "Back")]
        if self._machine is not None and self._at_servers:
            shown = guide.servers(self._proposals, self._left_out, width)
        elif self._machine is not None:
            shown = guide.ports(self._machine, self._chosen, width)
            roles = [] if self._machine["appliance"] else [("o", "Is outside"), ("i", "Is inside")]
            keys = [("l", "Blink its LED"), *roles, ("n", "Next: servers"), ("Esc", "Leave")]
        else:
            shown, keys = [], [("Esc", "Leave")]
        self.query_one("#guide", Lines).show(shown)
        said = [line(f" {self._said}", "warn")] if self._said else [key_line(*keys)]
        self.query_one("#edit-keys", Lines).show(said)

    def _step(self, *, at_servers: bool) -> None:
        self._at_servers, self._said = at_servers, ""
        self.query_one("#guide", Lines).restart()
        self._draw()

    def on_lines_chosen(self, event: Lines.Chosen) -> None:
        """Enter on a server takes it or leaves it out; on a port it goes on."""
        event.stop()
        if self._at_servers:
            self._left_out ^= {event.key}
            self._say("")
        else:
            self._step(at_servers=True)

    def action_blink(self) -> None:
        """The LED of the port under the cursor."""
        name = self.query_one("#guide", Lines).key
        if name is not None and not self._at_servers:
            self._said = ""
            self.ask(lambda: self.box.blink(name), lambda _: self._say(f"the LED of {name} blinks for 5 s"))

    def action_role(self, side: str) -> None:
        """The port under the cursor is outside, or inside. On the appliance box.yaml says it."""
        name = self.query_one("#guide", Lines).key
        if name is not None and not self._at_servers and self._machine and not self._machine["appliance"]:
            self._chosen = guide.with_role(self._chosen, side, name)
            self._say("")

    def action_next(self) -> None:
        """To the servers; from there to what would be changed."""
        if self._machine is None:
            return
        if not self._at_servers:
            self._step(at_servers=True)
            return
        wanted = [one for one in self._proposals if one["name"] not in self._left_out]
        machine, chosen = self._machine, self._chosen
        if not wanted and chosen == guide.roles(machine):
            self._say("nothing was chosen: there is nothing to apply")
            return

        def made() -> str:
            proposed = self.box.propose(wanted) if wanted else NOTHING
            return guide.text(self.box.configuration("running"), machine, chosen, proposed)

        self.ask(made, self.dismiss)

    def action_back(self) -> None:
        """To the ports, or away; nothing is changed."""
        if self._at_servers:
            self._step(at_servers=False)
        else:
            self.dismiss(None)
