"""The full screen with a real daemon: every page and every action, by its keys alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from netlab.screens import running
from netlab.session import Lab
from netlab.streams import connected

from appliance import backup, client
from appliance.tui.app import LeveeApp
from appliance.tui.box import Box
from appliance.tui.look import Look
from appliance.tui.view.frame import PAGES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from textual.pilot import Pilot

SIZE = (80, 25)
EVERY_S = 0.1
PATIENCE_S = 30.0
SOURCE = "203.0.113.9"


class Screen:
    """An interface with a finger on its keys and an eye on its text."""

    def __init__(self, app: LeveeApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def text(self) -> str:
        return "\n".join(strip.text.rstrip() for strip in self.app.screen._compositor.render_strips())

    async def sees(self, *words: str, without: str = "") -> None:
        limit = asyncio.get_running_loop().time() + PATIENCE_S
        while not all(word in self.text for word in words) or (without and without in self.text):
            assert asyncio.get_running_loop().time() < limit, f"{words} is not on the screen:\n{self.text}"
            await self.pilot.pause(EVERY_S)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def write(self, text: str) -> None:
        """In place of what the field holds."""
        await self.press("end", *["backspace"] * 40)
        await self.press(*("space" if one == " " else one for one in text))


@asynccontextmanager
async def interface(lab: Lab) -> AsyncIterator[Screen]:
    app = LeveeApp(Box(lab.names.socket), Look(16, letters=False, slow=True), EVERY_S)
    async with app.run_test(size=SIZE) as pilot:
        shown = Screen(app, pilot)
        await shown.sees("bridge" if lab.mode == "bridge" else lab.mode, lab.status()["engine"])
        yield shown


def run(lab: Lab, story: Callable[[Screen], Awaitable[None]]) -> None:
    async def told() -> None:
        async with interface(lab) as shown:
            await story(shown)

    asyncio.run(told())


def test_every_page_shows_what_is_so(lab: Lab) -> None:
    async def story(shown: Screen) -> None:
        words = {
            "overview": "validated",
            "services": "direct",
            "events": "",
            "flows": lab.client_address(4),
            "blocked": "",
            "backends": lab.server_address(4),
            "configuration": "is in force",
        }
        for number, page, _ in PAGES:
            await shown.press(number)
            assert shown.app.page == page
            await shown.sees(words[page])
        for _, page, _ in PAGES:
            await shown.press("tab")
            assert shown.app.page == page
        await shown.press("question_mark")
        await shown.sees("levee rollback")
        await shown.press("escape", "2")
        await shown.sees("dropped", "off")  # the two services; the other one is protected, or under attack from before
        await shown.press("home", "enter")
        await shown.sees("Packets that were not forwarded", "Servers that were heard")
        await shown.press("f")
        await shown.sees("Connections, to service")
        await shown.press("1", "h")
        await shown.sees("the last hour")

    with connected(lab, 4, direct=False):
        run(lab, story)


def test_bypass_in_two_keys_and_back(lab: Lab) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("b")
        await shown.sees("Turn bypass ON")
        await shown.press("n")
        await shown.sees("Overview", without="Turn bypass ON")
        assert lab.status()["state"] != "BYPASS"
        await shown.press("b", "y")
        await shown.sees("BYPASS")
        assert lab.status()["state"] == "BYPASS"
        await shown.press("b", "y")
        await shown.sees("Overview", without="BYPASS")
        assert lab.status()["state"] != "BYPASS"

    with connected(lab, 4, direct=False) as (caller, server):
        run(lab, story)
        caller.sendall(b"still")
        assert server.recv(10) == b"still"


def test_a_source_is_blocked_and_taken_out(lab: Lab) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("5", "a")
        await shown.sees("Block a source")
        await shown.press(*SOURCE, "enter", *"ten", "enter", "enter")
        await shown.sees("ten is not a time")
        await shown.press("enter")
        await shown.press("a", *SOURCE, "enter", *"1h", "enter", *"test", "enter")
        await shown.sees(SOURCE, "test")
        listed = client.call(lab.names.socket, "org.levee.BlockList")["entries"]
        assert SOURCE in str(listed)
        await shown.press("x", "y")
        await shown.sees("Blocked", without=SOURCE)

    run(lab, story)
    assert SOURCE not in str(client.call(lab.names.socket, "org.levee.BlockList")["entries"])


def test_protection_is_changed_on_trial_kept_and_undone(lab: Lab, unchanged: str) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("2")
        await shown.sees("lab ")
        while shown.app._body.key != "lab":
            await shown.press("down")
        await shown.press("p")
        await shown.sees("Protection of lab")
        await shown.write("auto")
        await shown.press("enter")
        await shown.sees("protect: auto", "on trial for 120 s")
        assert running(lab) == unchanged, "nothing is in force before it was said"
        await shown.press("y")
        await shown.sees("ON TRIAL", "c: keep it")
        assert lab.service_status()["protect"] == "auto"
        await shown.press("u", "y")
        await shown.sees("levee", without="ON TRIAL")
        assert lab.service_status()["protect"] == "always"
        await shown.press("p")
        await shown.sees("Protection of lab")
        await shown.write("auto")
        await shown.press("enter")
        await shown.sees("on trial for 120 s")
        await shown.press("y")
        await shown.sees("ON TRIAL")
        await shown.press("c")
        await shown.sees("levee", without="ON TRIAL")
        assert lab.service_status()["protect"] == "auto"
        await shown.press("7")
        await shown.sees("lab: protect auto")
        await shown.press("end", "enter")
        await shown.sees("From what is in force", "-    protect: auto")
        await shown.press("r", "y")
        await shown.sees("ON TRIAL")
        await shown.press("c")
        await shown.sees("levee", without="ON TRIAL")

    with connected(lab, 4, direct=False) as (caller, server):
        run(lab, story)
        caller.sendall(b"still")
        assert server.recv(10) == b"still"
    assert lab.service_status()["protect"] == "always"


def test_a_mistake_is_shown_at_its_line_and_nothing_is_changed(lab: Lab, unchanged: str) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("7", "e")
        await shown.sees("nothing is in force before it is applied")
        await shown.press(*"nonsense: 1", "enter", "f2")
        await shown.sees("1:1 nonsense: ")
        await shown.press("escape")
        await shown.sees("Esc again")
        await shown.press("escape")
        await shown.sees("is in force", without="Esc again")

    run(lab, story)
    assert running(lab) == unchanged


def test_a_service_is_changed(lab: Lab, unchanged: str) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("2")
        await shown.sees("lab ")
        while shown.app._body.key != "lab":
            await shown.press("down")
        await shown.press("m")
        await shown.sees("The service lab", "all")
        await shown.press("enter")
        await shown.write("1-60000")
        await shown.press("enter", "enter")
        await shown.sees("-    ports: all", "+    ports: [1-60000]")
        await shown.press("e")
        await shown.sees("nothing is in force before it is applied")
        await shown.press("escape")
        await shown.sees("Overview", without="nothing is in force")

    run(lab, story)
    assert running(lab) == unchanged


def test_limits_of_a_service_are_set(lab: Lab, unchanged: str) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("2")
        await shown.sees("lab ")
        while shown.app._body.key != "lab":
            await shown.press("down")
        await shown.press("l")
        await shown.sees("Limits of each source of lab")
        await shown.press(*"many", "enter", *"3", "enter", *"reset", "enter", "enter")
        await shown.sees("many", "Check, then apply")  # the daemon says where the mistake is
        await shown.press("escape")
        await shown.sees("Overview", without="Check, then")
        await shown.press("l")
        await shown.sees("Limits of each source of lab")
        await shown.press("enter", *"3", "enter", *"reset", "enter", "enter")
        await shown.sees("per_source: {open: 3, over: reset}", "No open connection is disturbed")
        await shown.press("y")
        await shown.sees("ON TRIAL")
        assert "per_source: {open: 3, over: reset}" in running(lab)
        await shown.press("u", "y")
        await shown.sees("levee", without="ON TRIAL")

    run(lab, story)
    assert running(lab) == unchanged


def test_a_backup_is_written_that_restore_believes(lab: Lab, tmp_path: Path) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("7", "w")
        await shown.sees("Backup of this box")
        await shown.press(*"box.levee", "enter", "enter")
        await shown.sees("does not say where")
        await shown.press("enter")
        await shown.sees("is in force", without="does not say where")
        await shown.press("w")
        await shown.sees("Backup of this box")
        await shown.press(*str(tmp_path / "b"), "enter")
        await shown.write("no")
        await shown.press("enter")
        await shown.sees("bytes", "levee restore FILE")

    run(lab, story)
    made = (tmp_path / "b").read_bytes()
    assert (tmp_path / "b").stat().st_mode & 0o077 == 0
    assert backup.check(backup.decode(made, "b"), "b").services.keys() == lab.status()["services"].keys()
    assert backup.SECRET not in backup.decode(made, "b").files


def test_keys_of_a_page_are_dead_while_something_is_over_it(lab: Lab) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("2", "g")
        await shown.sees("Which port is which")
        await shown.press("b", "y", "p", "m", "h")
        await shown.sees("Which port is which", without="Turn bypass")
        await shown.press("escape", "b")
        await shown.sees("Turn bypass ON")
        await shown.press("b", "1", "n")
        await shown.sees("Services", without="Turn bypass")
        assert shown.app.page == "services"

    run(lab, story)
    assert lab.status()["state"] != "BYPASS"


def test_packets_are_captured_with_what_became_of_them(lab: Lab) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("4", "t")
        await shown.sees("Which packets")
        await shown.press(*lab.client_address(4), "enter", "enter", "enter", "enter")
        await shown.sees("Capturing", "Another one")
        with connected(lab, 4, direct=False) as (caller, server):
            await asyncio.to_thread(caller.sendall, b"question")
            assert await asyncio.to_thread(server.recv, 10) == b"question"
            await shown.sees("TCP S seq", "sent by the box", lab.server_address(4))
        await shown.press("t")
        await shown.sees("Which packets")
        await shown.press("enter", "enter", *"nonsense", "enter", "enter")
        await shown.sees("nonsense is neither a reason nor a fate")
        await shown.press("enter", "escape")
        await shown.sees("Connections, all")

    run(lab, story)


def test_a_service_is_added(lab: Lab, unchanged: str) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("2", "n")
        await shown.sees("A new service")
        await shown.press(*"added", "enter", *"198.19.77.1", "enter", "enter", "enter")
        await shown.sees("+  added:", "No open connection is disturbed")
        await shown.press("y")
        await shown.sees("ON TRIAL", "added")
        await shown.press("u", "y")
        await shown.sees("levee", without="ON TRIAL")

    run(lab, story)
    assert running(lab) == unchanged


def test_a_daemon_that_goes_away_is_said_and_its_return_seen(lab: Lab) -> None:
    async def story(shown: Screen) -> None:
        lab.kill_daemon()
        await shown.sees("NO ANSWER", "no levee is running here")
        await shown.press("b", "2", "enter", "escape", "7", "1")
        await asyncio.to_thread(lab.start_daemon)
        await shown.sees("Overview", without="NO ANSWER")

    run(lab, story)
