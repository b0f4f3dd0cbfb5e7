"""What is kept of attacks, and what the operator's program is told."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance import statefile
from appliance.attack import Attack, Change
from appliance.commands.events import render
from appliance.events import KEPT, WAITING, Events
from appliance.models import Hook

LIMIT_S = 20.0
FLOOD = Attack(100.0, "syns_per_s", 40_000.4, 1000, 40_000, 50_000)


def change(*, over: bool, service: str = "web", lasted_s: float = 0) -> Change:
    return Change(service, FLOOD, over=over, lasted_s=lasted_s)


def script(folder: Path, body: str) -> Hook:
    path = folder / "hook"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return Hook.model_validate({"command": str(path), "timeout_s": 1})


def turns(events: Events, done: Callable[[], bool]) -> None:
    """As the daemon's loop, until it is so."""
    limit = time.monotonic() + LIMIT_S
    while not done():
        assert time.monotonic() < limit
        events.take([])
        time.sleep(0.02)


def test_an_attack_is_one_event_with_its_beginning_and_end(tmp_path: Path) -> None:
    events = Events(tmp_path, Hook())
    events.take([change(over=False), change(over=False, service="mail")])
    assert [(one["service"], one["ended_s"]) for one in events.all] == [("web", None), ("mail", None)]
    events.take([change(over=True, lasted_s=60)])
    web, mail = events.all
    assert web["ended_s"] is not None
    assert (web["lasted_s"], web["value"], web["measured"], web["limit"], web["peak_per_s"]) == (
        60,
        "syns_per_s",
        40_000,
        1000,
        50_000,
    )
    assert mail["ended_s"] is None


def test_events_survive_a_restart_and_one_whose_end_was_not_seen_is_cut(tmp_path: Path) -> None:
    first = Events(tmp_path, Hook())
    first.take([change(over=False), change(over=False, service="mail"), change(over=True, service="mail")])
    second = Events(tmp_path, Hook())
    assert second.problem is None
    assert [(one["service"], one["cut"]) for one in second.all] == [("web", True), ("mail", False)]
    second.take([change(over=False), change(over=True)])
    assert [(one["service"], one["cut"]) for one in second.all] == [("web", True), ("mail", False), ("web", False)]


def test_only_so_many_are_kept(tmp_path: Path) -> None:
    events = Events(tmp_path, Hook())
    events.take([change(over=over) for _ in range(KEPT + 5) for over in (False, True)])
    assert len(events.all) == KEPT
    assert len(Events(tmp_path, Hook()).all) == KEPT


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"version": 2, "events": []}',
        b'{"version": 1}',
        b'{"version": 1, "events": [{"service": "web"}]}',
        b'{"version": 1, "events": [7]}',
    ],
)
def test_a_file_that_makes_no_sense_is_put_aside(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "events.json").write_bytes(content)
    events = Events(tmp_path, Hook())
    assert "put aside" in str(events.problem)
    assert events.all == []
    events.take([change(over=False)])
    assert events.problem is None
    assert statefile.read(tmp_path / "events.json") is not None


def test_a_disk_that_is_full_is_said_and_ends_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    events = Events(folder, Hook())
    folder.write_text("a file where the folder should be")
    events.take([change(over=False)])
    assert "cannot be written" in str(events.problem)
    assert len(events.all) == 1


def test_the_hook_is_told_of_begin_and_end_one_after_the_other(tmp_path: Path) -> None:
    told = tmp_path / "told"
    events = Events(tmp_path, script(tmp_path, f"cat >> {told}"))
    events.take([change(over=False), change(over=True, lasted_s=9)])
    turns(events, lambda: told.exists() and len(told.read_text().splitlines()) == 2)
    began, ended = (json.loads(line) for line in told.read_text().splitlines())
    assert (began["event"], began["service"], began["ended_s"]) == ("began", "web", None)
    assert (ended["event"], ended["lasted_s"], ended["limit"]) == ("ended", 9, 1000)
    events.close()


@pytest.mark.parametrize(
    ("body", "said"),
    [("exit 3", "exit code 3"), ("exec sleep 600", "ended after 1 s"), ("exit 0", "done")],
)
def test_how_the_hook_ended_is_logged(body: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    events = Events(tmp_path, script(tmp_path, body))
    events.take([change(over=False)])
    turns(events, lambda: any(said in line for line in caplog.messages))
    events.close()


def test_a_hook_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events = Events(tmp_path, Hook.model_validate({"command": str(tmp_path / "missing")}))
    events.take([change(over=False)])
    assert any("cannot be run" in line for line in caplog.messages)


def test_events_do_not_pile_up_behind_a_slow_hook(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events = Events(tmp_path, script(tmp_path, "exec sleep 600"))
    events.take([change(over=False) for _ in range(WAITING + 10)])
    assert any("is left out" in line for line in caplog.messages)
    events.close()


def test_what_an_operator_is_shown(tmp_path: Path) -> None:
    events = Events(tmp_path, Hook())
    events.take([change(over=False, service="mail"), change(over=False), change(over=True, lasted_s=61)])
    mail, web = render(events.all).splitlines()
    assert "goes on" in mail
    assert web.endswith("00:01:01      web: 40000 SYNs a second, limit 1000, at most 50000 SYNs a second")
    assert render([]) == "no attack has been seen\n"
