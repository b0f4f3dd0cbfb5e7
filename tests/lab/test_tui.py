"""The full screen with a real daemon: every page and every action, by its keys alone."""

from __future__ import annotations

import asyncio

from netlab.fingers import Screen, run
from netlab.screens import running
from netlab.session import Lab
from netlab.streams import connected

from appliance import client
from appliance.tui.view.frame import PAGES

SOURCE = "203.0.113.9"


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
        await shown.choose_service("lab")
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
