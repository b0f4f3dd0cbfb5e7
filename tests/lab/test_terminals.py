"""The interface on real terminals: the full screen in tmux, as TERM promises, and the menu on a pty.

What is sent to the terminal is counted on a pty of its own: a console at 9600 baud takes 960 bytes a second.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl

import pytest
from netlab.flood import Flood, FloodSpec
from netlab.screens import COLUMNS, ROWS, levee, terminal
from netlab.session import Lab, wait_until

TERMINALS = ("linux", "vt100", "xterm-256color")
LOOK_S = 4.0
CONSOLE_BYTES_PER_S = 2000


@pytest.mark.parametrize("term", TERMINALS)
def test_the_full_screen_on_a_terminal(lab: Lab, term: str) -> None:
    with terminal(lab, term, *levee(lab, "tui")) as shown:
        shown.sees("1 Overview", "validated", "b Bypass")
        shown.press("2")
        shown.sees("lab", "protected")
        shown.press("b")
        shown.sees("Turn bypass ON")
        shown.press("y")
        shown.sees("BYPASS")
        assert lab.status()["state"] == "BYPASS"
        shown.press("b")
        shown.sees("Turn bypass OFF")
        shown.press("y")
        assert wait_until(lambda: lab.status()["state"] != "BYPASS")
        if term == "vt100":
            shown.text.encode("ascii")
        shown.text.encode("cp437")
        shown.press("q")
        shown.ended()


@pytest.mark.parametrize("term", TERMINALS)
def test_the_menu_on_a_terminal(lab: Lab, term: str) -> None:
    with terminal(lab, term, *levee(lab, "menu")) as shown:
        shown.sees("9  Bypass on or off", "number?")
        shown.press("9", "Enter")
        shown.sees("turn bypass ON")
        shown.press("yes", "Enter")
        shown.sees("no connection was cut")
        assert lab.status()["state"] == "BYPASS"
        shown.press("9", "Enter", "yes", "Enter")
        assert wait_until(lambda: lab.status()["state"] != "BYPASS")
        shown.press("seven", "Enter")
        shown.sees("a number from 0 to 11")
        shown.press("0", "Enter")
        shown.ended()


def test_the_menu_changes_protection_on_trial_and_takes_it_back(lab: Lab) -> None:
    talk = "8\n3\nlab\nauto\nyes\n9\n0\n0\n"
    done = subprocess.run(levee(lab, "menu"), input=talk, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    done.stdout.encode("ascii")
    # Nothing echoes the answers here, so what follows a question stands in its line.
    assert max(len(line) for line in done.stdout.splitlines() if "? " not in line) < COLUMNS
    for words in ("protect: auto", "on trial", "is in force again"):
        assert words in done.stdout
    assert lab.service_status()["protect"] == "always"


@contextlib.contextmanager
def on_pty(lab: Lab, term: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The full screen, and the other end of its terminal."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": term, "LC_ALL": "C.UTF-8", "COLORTERM": ""}
    child = subprocess.Popen(
        levee(lab, "tui"), stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    )
    os.close(slave)
    try:
        yield child, master
    finally:
        child.kill()
        child.wait()
        os.close(master)


def written_bytes_per_s(lab: Lab, term: str) -> float:
    """What the full screen sends, once it stands."""
    with on_pty(lab, term) as (_, master):
        _read(master, LOOK_S / 2)
        started = time.monotonic()
        return _read(master, LOOK_S) / (time.monotonic() - started)


def _read(master: int, for_s: float) -> int:
    count = 0
    limit = time.monotonic() + for_s
    while (left_s := limit - time.monotonic()) > 0:
        if select.select([master], [], [], left_s)[0]:
            count += len(os.read(master, 1 << 16))
    return count


@pytest.mark.parametrize("term", ["linux", "vt100"])
def test_a_console_is_sent_little(lab: Lab, term: str) -> None:
    idle = written_bytes_per_s(lab, term)
    spec = FloodSpec("syn-options", lab.server_address(4), 2_000_000, 60, rate_pps=20_000, seed=91)
    with Flood(lab.names, lab.mode, spec):
        busy = written_bytes_per_s(lab, term)
    print(f"{term}: {idle:.0f} bytes a second idle, {busy:.0f} in a flood")
    assert idle < busy + 1
    assert busy < CONSOLE_BYTES_PER_S


def test_killed_at_any_moment_it_changes_nothing(lab: Lab) -> None:
    before = lab.status()["configuration"]
    for wait_s in (0.2, 0.9, 1.6):
        with on_pty(lab, "linux") as (_, master):
            os.write(master, b"b7e")
            _read(master, wait_s)
    after = lab.status()
    assert after["configuration"] == before
    assert after["state"] != "BYPASS"
