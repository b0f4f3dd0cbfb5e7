"""From a box as it is delivered to a protected web server: the guide, on a terminal and as questions; the ports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from netlab import clients, configuration
from netlab.flood import FloodSpec, run_flood
from netlab.names import CLIENT_MAC, REPOSITORY, SERVER_MAC
from netlab.process import run
from netlab.screens import apply, levee, put_back, terminal
from netlab.session import Lab, wait_until

DELIVERED = REPOSITORY / "image/stick/levee.yaml"
FORGED = 20_000


@pytest.fixture
def delivered(lab: Lab, nginx: Path) -> Iterator[None]:  # noqa: ARG001
    """The configuration that is on every new stick: it protects nothing as long as nobody is flooded."""
    services = DELIVERED.read_text().partition("\nservices:\n")[2].partition("\n\n")[0]
    with put_back(lab):
        apply(lab, f"{configuration.head(lab.mode, lab.engine, lab.names)}services:\n{services}\n")
        yield


def is_protected(lab: Lab, name: str) -> bool:
    services = lab.status()["services"]
    return name in services and services[name]["protected"] is True


def no_forged_syn_arrives(lab: Lab) -> None:
    before = lab.arrived()["forged"]
    run_flood(lab.names, lab.mode, FloodSpec("syn-options", lab.server_address(4), FORGED, 60, port="80", seed=6100))
    assert lab.arrived()["forged"] == before, "forged packets reached the server"
    assert clients.curl(lab.names, lab.server_address(4)).returncode == 0


def test_from_first_boot_to_a_protected_web_server(lab: Lab, delivered: None) -> None:  # noqa: ARG001
    with terminal(lab, "linux", *levee(lab, "tui")) as shown:
        shown.sees("LEARNING", "g Set up")
        shown.press("g")
        shown.sees("Which port is which", "outside", "inside", "n Next: servers")
        assert clients.curl(lab.names, lab.server_address(4)).returncode == 0
        shown.press("n")
        shown.sees("Servers that were seen", "[x] web", lab.server_address(4))
        shown.press("n")
        shown.sees("What would be changed", "y Apply")
        assert lab.status()["configuration"]["pending"] is None
        shown.press("y")
        shown.sees("ON TRIAL", "c: keep it")
        shown.press("c")
        shown.sees("PROTECTING", without="ON TRIAL")
        shown.press("q")
        shown.ended()
    assert is_protected(lab, "web")
    no_forged_syn_arrives(lab)


def test_the_same_as_questions_on_a_serial_line(lab: Lab, delivered: None) -> None:  # noqa: ARG001
    assert clients.curl(lab.names, lab.server_address(4)).returncode == 0
    with terminal(lab, "vt100", *levee(lab, "menu")) as shown:
        for question, answer in (
            ("11  Set up", "11"),
            ("port whose LED shall blink", "inside"),
            ("the driver of inside cannot blink", ""),
            ("outside (Enter: outside)?", ""),
            ("inside (Enter: inside)?", ""),
            ("numbers, with spaces between them", ""),
        ):
            shown.sees(question)
            shown.press(answer, "Enter")
        while True:  # what would be changed, a screen at a time
            assert wait_until(lambda: any(word in shown.text for word in ("apply it?", "0: enough")), 30.0), shown.text
            if "apply it?" in shown.text:
                break
            shown.press("Enter")
        for answer, reply in (("yes", "is in force for 120 s"), ("8", "Keep the change on trial"), ("8", "stays in")):
            shown.press(answer, "Enter")
            shown.sees(reply)
        shown.press("0", "Enter", "0", "Enter")
        shown.ended()
        shown.text.encode("ascii")
    assert is_protected(lab, "web")
    assert not is_protected(lab, "web-others")
    no_forged_syn_arrives(lab)


def test_ports_say_who_is_heard_on_them(lab: Lab, nginx: Path) -> None:  # noqa: ARG001
    assert clients.curl(lab.names, lab.server_address(4)).returncode == 0
    listed = json.loads(run(levee(lab, "ports", "--json")).stdout)
    assert listed["appliance"] is False
    ports = {one["use"]: one for one in listed["ports"]}
    assert (ports["outside"]["name"], ports["inside"]["name"]) == ("outside", "inside")
    assert ports["outside"]["up"] is True
    assert CLIENT_MAC in ports["outside"]["heard"]
    assert SERVER_MAC in ports["inside"]["heard"]
    assert SERVER_MAC not in ports["outside"]["heard"]
    refused = run(levee(lab, "ports", "--blink", "outside"), check=False)
    assert refused.returncode == 3
    assert "the driver of outside cannot blink" in refused.stderr
