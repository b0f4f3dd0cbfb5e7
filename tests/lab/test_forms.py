"""Forms, captures and a backup in the full screen, with a real daemon. By name only (make test-tasks)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from netlab.fingers import Screen, run
from netlab.screens import running
from netlab.session import Lab
from netlab.streams import connected

from appliance import backup


def test_a_service_is_changed(lab: Lab, unchanged: str) -> None:
    async def story(shown: Screen) -> None:
        await shown.choose_service("lab")
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
        await shown.choose_service("lab")
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
