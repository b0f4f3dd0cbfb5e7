"""Mirrored links: when one data port loses its link, the other one is set down, so that whoever is behind it sees that
this way leads nowhere and takes another one.

Owns the decision (a pure function of both links) and the process that watches them. Run by levee-mirror.service when
box.yaml asks for it. A port that is held down is named in /run/levee-box/held, for health.py. Must not know Levee:
open connections stay in its tables while a port is down.
"""

import select
import signal
import socket
import subprocess
import time
from dataclasses import dataclass

from appliance.errors import OperatorError
from chassis.ports import HELD, INSIDE, OUTSIDE, SYS_NET

# A port that was just set up has no link yet: finding out speed and pair takes copper some seconds.
SETTLE_S = 10.0
# Notices of the kernel wake us; this is for one that got lost.
LOOK_S = 1.0
RTMGRP_LINK = 1  # linux/rtnetlink.h
RECEIVE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Mirror:
    """`held`: the port that is down because the other one has no link; `settled_s`: when links may be judged again."""

    held: str | None = None
    settled_s: float = 0.0


def step(now: Mirror, *, outside: bool, inside: bool, at_s: float) -> Mirror:
    """What follows from the links of this moment; `at_s` and `settled_s` are of one monotonic clock.

    Of a port that is held down no link is known: only the other one counts until that has a link again.
    """
    if now.held is not None:
        returned = outside if now.held == INSIDE else inside
        return Mirror(None, at_s + SETTLE_S) if returned else now
    if at_s < now.settled_s or outside == inside:
        return now
    return Mirror(INSIDE if inside else OUTSIDE, now.settled_s)


def has_link(name: str) -> bool:
    """Whether there is a carrier; a port that is down or not there has none."""
    try:
        return (SYS_NET / name / "carrier").read_text().strip() == "1"
    except OSError:  # EINVAL of a port that is down, ENOENT of one that is not there
        return False


def _set(name: str, state: str) -> None:
    done = subprocess.run(
        ["ip", "link", "set", "dev", name, state], capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode != 0:
        raise OperatorError(f"{name} cannot be set {state}: {done.stderr.strip()}")


def _hold(name: str) -> None:
    HELD.write_text(f"{name}\n")
    _set(name, "down")
    print(f"{name} is set down: the other port has lost its link", flush=True)


def _release(name: str) -> None:
    _set(name, "up")
    HELD.unlink(missing_ok=True)
    print(f"{name} is set up again", flush=True)


def _ended(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def run() -> None:
    """Watches until it is told to end; both ports are up when it begins and when it ends."""
    signal.signal(signal.SIGTERM, _ended)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE) as notices:
        notices.bind((0, RTMGRP_LINK))
        for name in (OUTSIDE, INSIDE):
            _set(name, "up")
        HELD.unlink(missing_ok=True)
        now = Mirror(None, time.monotonic() + SETTLE_S)
        print("links are mirrored", flush=True)
        try:
            while True:
                following = step(now, outside=has_link(OUTSIDE), inside=has_link(INSIDE), at_s=time.monotonic())
                if following.held and not now.held:
                    _hold(following.held)
                elif now.held and not following.held:
                    _release(now.held)
                now = following
                _wait(notices)
        finally:
            if now.held:
                _release(now.held)


def _wait(notices: socket.socket) -> None:
    """Until a link has changed; what the notices say is looked up afresh."""
    if not select.select([notices], [], [], LOOK_S)[0]:
        return
    try:
        while notices.recv(RECEIVE_BYTES):
            pass
    except BlockingIOError:
        return  # all of them are read
    except OSError as error:  # ENOBUFS: some were lost, and the next look finds what they said
        print(f"notices of the kernel were lost: {error}", flush=True)
