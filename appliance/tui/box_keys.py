"""The page of the box itself: its keys, their forms and their questions.

Owns what is asked before anything is done. Whatever is done is one request to the box (appliance/requests.py), or a
`levee` command; on any other machine both say that they changed nothing. Called by app.py, which has these keys too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.binding import Binding, BindingType

from appliance.errors import ConfigError, OperatorError
from appliance.tui import backup_file
from appliance.tui.dialogs import Field, Form, Question, Told
from appliance.tui.shell import Shell
from appliance.tui.view import box, changed
from appliance.tui.view.line import Line, line, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW_COLUMNS = 70
BY_KEY = {
    "s": "box_settings",
    "y": "box_ssh_keys",
    "i": "box_restore",
    "v": "box_update",
    "z": "box_restart",
    "p": "box_shutdown",
    "0": "box_reset",
}


class BoxKeys(Shell):
    """Keys of one page; elsewhere they do nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "box", show=False),
        *(Binding(key, action, show=False) for key, action in BY_KEY.items() if key != "p"),  # app.py has that one
    ]
    _busy = ""  # what the box is asked just now

    def action_box(self) -> None:
        """To its page."""
        if self.page == "configuration":
            self._show([*self._places, ("box", "")])

    def _keys(self, width: int) -> Line:
        return line(f" {self._busy} ...", "warn") if self._busy else super()._keys(width)

    def _at_box(self) -> bool:
        """Whether its page is open, and nothing is under way; says where this is no box."""
        if self.page != "box" or self._busy or not self._snapshot.box:
            return False
        if not self._snapshot.box["here"]:
            self._failed(OperatorError("This is not the bootable appliance: nothing was changed.", box.ELSEWHERE))
            return False
        return True

    async def _done(self, doing: str, call: Callable[[], str]) -> None:
        """In a thread; what came of it is shown."""
        self._busy = doing
        self._draw()
        try:
            said = await asyncio.to_thread(call)
        except OperatorError as error:
            self._failed(error)
        else:
            shown = [part for one in said.splitlines() for part in wrapped(one, WINDOW_COLUMNS)]
            if shown:
                self.push_screen(Told(self._look, shown))
        finally:
            self._busy = ""
        self._poll()

    async def _agreed(self, *question: str) -> bool:
        window = Question(self._look, question)
        return await self.push_screen_wait(window)

    def box_on_trial(self) -> bool:
        """Whether c and u are about the box."""
        return self.page == "box" and self._snapshot.box.get("left_s") is not None

    @work
    async def box_kept(self, *, kept: bool) -> None:
        """The end of a trial."""
        if kept or await self._agreed("Take the change back?"):
            await self._done("asking the box", lambda: self._box.ask_box("keep" if kept else "undo"))

    @work
    async def action_box_settings(self) -> None:
        """Name, management address, time servers: mistakes are shown at their fields."""
        if not self._at_box():
            return
        text = self._snapshot.box["settings"]
        try:
            before = after = box.values(text)
            wrong: dict[str, tuple[str, str]] = {}
            while True:
                fields = [
                    Field(one.name, one.label, one.hint, after[one.name], wrong.get(one.name, ()))
                    for one in box.SETTINGS
                ]
                found = await self.push_screen_wait(Form(self._look, "Name, management address, time", fields))
                if found is None or found == before:
                    return
                after, new = found, box.changed(text, before, found)
                try:
                    await asyncio.to_thread(self._box.ask_box, "check", new)
                    break
                except ConfigError as error:
                    wrong = box.wrong(error.problems)
        except OperatorError as error:
            self._failed(error)
            return
        diff = [one for one in changed.unified(text, new, ("", "")).splitlines()[2:] if one[0] in "+-"]
        if await self._agreed(
            "In force for 120 s, unless you keep it with c?", "Over SSH: log in at the new address.", *diff
        ):
            await self._done("setting the box up", lambda: self._box.ask_box("apply", new))

    @work
    async def action_box_ssh_keys(self) -> None:
        """Who may log in."""
        if not self._at_box():
            return
        keys = list(self._snapshot.box["keys"])
        if len(keys) >= box.MOST_KEYS:
            self._failed(OperatorError(f"{len(keys)} keys are too many for a form", "levee box keys FILE"))
            return
        fields = [
            Field(f"key{number}", f"Key {number + 1}", "ssh-ed25519 AAAA... name; empty: none", one)
            for number, one in enumerate([*keys, ""])
        ]
        found = await self.push_screen_wait(Form(self._look, "Public SSH keys that may log in", fields))
        if found is None:
            return
        after = [one for one in found.values() if one]
        text = "".join(f"{one}\n" for one in after)
        question = f"{len(after)} keys instead of {len(keys)}?" if after else "No key: nobody may log in over SSH?"
        if after != keys and await self._agreed(question):
            await self._done("changing the keys", lambda: self._box.ask_box("keys", text))

    async def _file(self, title: str, hint: str) -> str:
        found = await self.push_screen_wait(Form(self._look, title, (Field("file", "File", hint),)))
        return found["file"] if found else ""

    @work
    async def action_box_restore(self) -> None:
        """What a backup holds, in place of what is there."""
        if self.page == "box" and self._snapshot.box and not self._snapshot.box["here"]:
            commands = "as root: systemctl stop levee; levee restore FILE; systemctl start levee"
            self._failed(OperatorError("A restore needs root here, and no daemon: nothing was changed.", commands))
        elif self._at_box() and (file := await self._file("Restore from a backup", "/media/stick/box.levee")):
            question = (
                "Put back what it holds: configuration, history, lists, secret?",
                "What is in force is replaced,",
            )
            if await self._agreed(*question, "and the daemon is away for some seconds."):
                await self._done("restoring", lambda: self._box.restore(backup_file.read(file)))

    @work
    async def action_box_update(self) -> None:
        """Another version, in the slot that is not in use."""
        if self._at_box() and (file := await self._file("Another version", "/media/stick/levee-VERSION.raucb")):
            question = (
                "Install it in the other slot? It takes a minute or more.",
                "It is tried at the next restart: z",
            )
            if await self._agreed(*question):
                await self._done("installing", lambda: self._box.command("update", file))

    @work
    async def action_box_restart(self) -> None:
        """Of the whole box."""
        if self._at_box() and await self._agreed(
            "Restart the box?", "Open connections end; no packet passes meanwhile."
        ):
            await self._done("restarting", self._box.restart)

    @work
    async def action_box_shutdown(self) -> None:
        """Off."""
        if self._at_box() and await self._agreed(
            "Power the box OFF?", "No packet passes until somebody switches it on."
        ):
            await self._done("powering off", lambda: self._box.ask_box("shutdown"))

    @work
    async def action_box_reset(self) -> None:
        """The boot menu does it: it is there for a box whose configuration keeps it from coming up, too."""
        if self._at_box() and await self._agreed(
            "Restart the box for a factory reset? Open connections end.",
            "Then its boot menu, on screen and serial line, for 2 s:",
            "its last line forgets configuration, learned servers, journal.",
            "Any other line changes nothing.",
        ):
            await self._done("restarting", self._box.restart)
