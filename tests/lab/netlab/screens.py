"""The terminal interface as somebody sits before it: a terminal of 80x25 with a program in it, and keys.

Called by the tests of the interface. tmux reads what the program writes, as TERM promises; the program runs in the box.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator

from appliance import client
from netlab.process import in_namespace, run
from netlab.session import Lab, wait_until

COLUMNS, ROWS = 80, 25
PATIENCE_S = 30.0
NUMBERS = itertools.count()
ENDED = "the program ended with {}"
# tmux knows a program's exit code only if it gets to its SIGCHLD, which it does not always: a shell says it.
SHELL = ("sh", "-c", f'"$@"; code=$?; echo; echo {ENDED.format("$code")}', "sh")


class Tmux:
    """A terminal with one program in it."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name

    def tmux(self, *arguments: str) -> str:
        return run(["tmux", "-L", self.name, "-f", "/dev/null", *arguments]).stdout

    @property
    def text(self) -> str:
        return self.tmux("capture-pane", "-p", "-t", "screen")

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", "-t", "screen", *keys)

    def ended(self) -> None:
        """The program is over, and says that all is well."""
        self.sees(ENDED.format(0))

    def sees(self, *words: str, without: str = "") -> None:
        def so() -> bool:
            text = self.text
            return all(word in text for word in words) and not (without and without in text)

        assert wait_until(so, PATIENCE_S), f"{words} (without {without!r}) is not on the screen:\n{self.text}"


@contextlib.contextmanager
def terminal(lab: Lab, term: str, *command: str) -> Iterator[Tmux]:
    made = Tmux(lab, f"{lab.names.prefix}-{os.getpid()}-{next(NUMBERS)}")  # an old server may still be ending
    argv = in_namespace(lab.names.box, ["env", f"TERM={term}", "LC_ALL=C.UTF-8", "COLORTERM=", *SHELL, *command])
    made.tmux("new-session", "-d", "-s", "screen", "-x", str(COLUMNS), "-y", str(ROWS), *argv)
    try:
        made.tmux("set-option", "-t", "screen", "remain-on-exit", "on")
        yield made
    finally:
        made.tmux("kill-server")


def levee(lab: Lab, *arguments: str) -> tuple[str, ...]:
    """The command line of the lab's levee."""
    return (str(lab.appliance.levee), *arguments, "--socket", str(lab.names.socket))


def running(lab: Lab) -> str:
    """The text that is in force."""
    return str(client.call(lab.names.socket, "org.levee.Configuration", {"of": "running"})["text"])


def apply(lab: Lab, text: str) -> None:
    """Puts a text in force for good."""
    parameters: dict[str, object] = {"text": text, "confirm_s": 0}
    client.call(lab.names.socket, "org.levee.Apply", parameters, timeout_s=client.CHANGE_TIMEOUT_S)
    assert wait_until(lambda: not lab.status()["configuration"]["restarting"])


@contextlib.contextmanager
def put_back(lab: Lab) -> Iterator[str]:
    """The configuration is as it was afterwards, whatever was left in force or on trial. Gives its text."""
    before = running(lab)
    try:
        yield before
    finally:
        if client.call(lab.names.socket, "org.levee.History")["pending"]:
            client.call(lab.names.socket, "org.levee.Rollback", timeout_s=client.CHANGE_TIMEOUT_S)
        if running(lab) != before:
            apply(lab, before)
        assert wait_until(lambda: not lab.status()["configuration"]["restarting"])
