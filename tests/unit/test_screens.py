"""What the screens are made of: looks, roles, and records that are like the real daemon's."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_type_hints

import pytest
from screens.pictures import CONSOLE, LOOKS
from screens.recorded import Recorded

from appliance import report
from appliance.backends import BackendReport
from appliance.capture import PacketReport
from appliance.events import EventReport
from appliance.flows import FlowReport
from appliance.ports import PortReport
from appliance.proposals import Draft
from appliance.tui.look import of_terminal

if TYPE_CHECKING:
    from appliance.tui.view.line import Role


@pytest.mark.parametrize(
    ("environment", "encoding", "colours", "letters"),
    [
        ({"TERM": "linux"}, "UTF-8", 16, False),
        ({"TERM": "linux"}, "ANSI_X3.4-1968", 16, True),
        ({"TERM": "vt100"}, "UTF-8", 0, True),
        ({"TERM": "xterm-256color"}, "UTF-8", 1 << 24, False),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "utf8", 1 << 24, False),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "UTF-8", 0, False),
        ({}, "UTF-8", 0, True),
    ],
)
def test_a_terminal_gets_what_it_promises(
    environment: dict[str, str], encoding: str, colours: int, *, letters: bool
) -> None:
    look = of_terminal(environment, encoding)
    assert (look.colours, look.letters) == (colours, letters)


def test_every_look_knows_every_role() -> None:
    roles: set[Role] = set(LOOKS[CONSOLE].styles())
    for environment in ({"TERM": "vt100"}, {"TERM": "linux"}, {"TERM": "xterm-256color"}):
        assert set(of_terminal(environment, "utf8").styles()) == roles


def test_the_recorded_box_answers_as_the_real_one_does() -> None:
    box = Recorded(pending=True)
    status = box.status()
    shapes = (
        (report.StatusReport, status),
        (report.ServiceReport, status["services"]["web"]),
        (report.ConfigurationReport, status["configuration"]),
        (report.PendingReport, status["configuration"]["pending"]),
        (report.AttackReport, status["attacks"]["web"]),
        (EventReport, box.events()[0]),
        (BackendReport, box.backends()[0]),
        (FlowReport, box.flows(1, "", "")[0]),
        (PortReport, box.machine()["ports"][0]),
        (PacketReport, box.capture_take(1)["packets"][0]),
        (Draft, box.proposals()[0]),
    )
    for shape, found in shapes:
        assert found is not None
        assert set(get_type_hints(shape)) == set(found), shape.__name__
