"""What a new operator has to do, with the keyboard alone and only what the screen says, on a terminal of 80x25.

By name only (make test-tasks), since each takes seconds; test_first_boot.py is the first of these tasks in make test.
"""

from __future__ import annotations

import pytest
from netlab import clients
from netlab.screens import apply, levee, running, terminal
from netlab.session import Lab, wait_until
from netlab.streams import connected

from appliance import client
from appliance.tui.view import edits

TERMINALS = ("linux", "vt100", "xterm-256color")


@pytest.mark.parametrize("term", TERMINALS)
def test_why_a_client_cannot_connect(lab: Lab, nginx: object, term: str) -> None:  # noqa: ARG001
    """Its SYNs are dropped; the service's page says why, the list of blocked sources who, and one key takes it out."""
    source, server = lab.client_address(4), lab.server_address(4)
    parameters: dict[str, object] = {"prefixes": [source], "comment": "by mistake"}
    client.call(lab.names.socket, "org.levee.BlockAdd", parameters)
    assert clients.curl(lab.names, server, limit_s=1.5).returncode != 0
    with terminal(lab, term, *levee(lab, "tui")) as shown:
        shown.sees("1 Overview", "validated")
        shown.press("2")
        shown.sees("lab ", "dropped")
        shown.press("Home", "Enter")  # the services with the most drops stand first
        shown.sees("Packets that were not forwarded", "source that is blocked, by the operator")
        shown.press("5")
        shown.sees(source, "by mistake", "x Take out")
        shown.press("x")
        shown.sees(f"Take {source}")
        shown.press("y")
        shown.sees("No source is blocked")
        shown.press("q")
        shown.ended()
    assert clients.curl(lab.names, server).returncode == 0


@pytest.mark.parametrize("term", TERMINALS)
def test_protection_off_and_on(lab: Lab, term: str) -> None:
    """Two keys each way. A connection opened meanwhile goes straight to the server, and on through the way back."""
    with terminal(lab, term, *levee(lab, "tui")) as shown:
        shown.sees("1 Overview", "b Bypass")
        shown.press("b")
        shown.sees("Turn bypass ON", "y yes")
        shown.press("y")
        shown.sees("BYPASS", "nobody is protected")
        opened = lab.service_status()["opened"]
        with connected(lab, 4, direct=False) as (caller, server):
            assert lab.service_status()["opened"] == opened
            shown.press("b")
            shown.sees("Turn bypass OFF")
            shown.press("y")
            shown.sees("Overview", without="BYPASS")
            caller.sendall(b"still")
            assert server.recv(10) == b"still"
        with connected(lab, 4, direct=False):
            assert lab.service_status()["opened"] == opened + 1
        shown.press("q")
        shown.ended()


@pytest.mark.parametrize("term", TERMINALS)
def test_yesterdays_change_is_undone(lab: Lab, unchanged: str, term: str) -> None:
    apply(lab, edits.set_protect(unchanged, "lab", "auto"))
    with terminal(lab, term, *levee(lab, "tui")) as shown:
        shown.sees("1 Overview", "7 Config")
        shown.press("7")
        shown.sees("is in force", "root", "Enter Diff")
        shown.press("Down", "Enter")
        shown.sees("From what is in force", "-    protect: auto", "r Return to it")
        shown.press("r")
        shown.sees("in force again")
        shown.press("y")
        shown.sees("ON TRIAL", "c: keep it")
        shown.press("c")
        shown.sees("Overview", without="ON TRIAL")
        shown.press("q")
        shown.ended()
    assert running(lab) == unchanged
    assert lab.service_status()["protect"] == "always"


@pytest.mark.parametrize("term", TERMINALS)
def test_before_login_everybody_may_look_and_nobody_can_change_anything(lab: Lab, term: str) -> None:
    with connected(lab, 4, direct=False), terminal(lab, term, *levee(lab, "tui", "--overview")) as shown:
        shown.sees("Overview", "validated", "Log in")
        shown.press("Escape")
        shown.press("4", "Tab", "Right", "2", "e", "7", "n", "b", "y", "q")
        shown.press("h")
        shown.sees("the last hour", "Log in")
        assert lab.client_address(4) not in shown.text
        assert lab.status()["state"] != "BYPASS"
        shown.press("Enter")
        shown.ended()


@pytest.mark.parametrize("keys", ["b", "gn", "gnn", "7e", "2n"])
def test_killed_in_the_middle_of_something_it_changes_nothing(lab: Lab, keys: str, unchanged: str) -> None:
    before = lab.status()["configuration"]
    with terminal(lab, "linux", *levee(lab, "tui")) as shown:
        shown.sees("1 Overview", "b Bypass")
        shown.press(*keys)
        shown.sees("")
    after = lab.status()
    assert after["configuration"] == before
    assert after["state"] != "BYPASS"
    assert running(lab) == unchanged


def test_killed_while_a_change_is_on_trial_the_box_goes_back_by_itself(lab: Lab, unchanged: str) -> None:
    """As if somebody had put the configuration in force and lost the line: nobody keeps it."""
    changed = edits.set_protect(unchanged, "lab", "auto")
    parameters: dict[str, object] = {"text": changed, "confirm_s": 3}
    client.call(lab.names.socket, "org.levee.Apply", parameters, timeout_s=client.CHANGE_TIMEOUT_S)
    with terminal(lab, "linux", *levee(lab, "tui")) as shown:
        shown.sees("ON TRIAL")
    assert wait_until(lambda: running(lab) == unchanged, 30.0)
