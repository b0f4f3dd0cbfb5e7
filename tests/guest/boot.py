"""One command in a booted guest: output streamed, exit code kept, time limits, known Oops retried.

Owns the life of the QEMU process and the reading of the kernel's console. Called by __main__.py.
A boot ends in exactly one way, which is its `Ending`.
"""

from __future__ import annotations

import enum
import os
import re
import selectors
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from guest.kernel import write_initramfs
from guest.layout import GuestError, Layout, say
from guest.machine import Accelerator, choose_accelerator, qemu_argv

BOOT_LIMIT_S = 90
_ATTEMPTS = 4
_POLL_S = 0.2
_POWEROFF_LIMIT_S = 15
# QEMU's emulation of code patched under a running second CPU fails once in many boots, at any time
# a static key is switched; the next boot is a new throw. Seen with QEMU 7.2 only, looked for always.
_KNOWN_OOPS = re.compile(r"Oops: int3|int3: 0000 \[#")
_CRASH = re.compile(r"Kernel panic - not syncing.*|Oops: .*|BUG: .*|general protection fault.*")


class Ending(enum.Enum):
    """How a boot ended. EXITED: the command ended by itself, there is an exit code."""

    EXITED = "the command ended"
    KNOWN_OOPS = "the known Oops: int3 of emulated CPUs"
    CRASHED = "the guest's kernel crashed"
    NO_BOOT = "the guest did not come up in time"
    TOO_LONG = "the command took too long"
    QEMU_DIED = "QEMU ended before the command did"


@dataclass(frozen=True)
class Result:
    """`exit_code` is the command's, None unless it EXITED; times in seconds."""

    ending: Ending
    exit_code: int | None
    boot_s: float
    command_s: float


def judge_console(text: str) -> Ending | None:
    """What the kernel's messages say about the guest's health; None while they are unsuspicious."""
    if _KNOWN_OOPS.search(text):
        return Ending.KNOWN_OOPS
    if _CRASH.search(text):
        return Ending.CRASHED
    return None


class _Watch:
    """Clock and evidence of one boot: the files in the shared folder and the console."""

    def __init__(self, layout: Layout, limit_s: float) -> None:
        self._status = layout.out / "status"
        self._started = layout.out / "started"
        self._console = layout.out / "console.log"
        self._limit_s = limit_s
        self._begin = time.monotonic()
        self._running: float | None = None

    def exit_code(self) -> int | None:
        return int(self._status.read_text()) if self._status.exists() else None

    def console(self) -> str:
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def verdict(self) -> Ending | None:
        """Why the guest has to be stopped now, if it has to."""
        now = time.monotonic()
        if self._running is None and self._started.exists():
            self._running = now
        bad = judge_console(self.console())
        if bad is not None:
            return bad
        if self._running is None:
            return Ending.NO_BOOT if now - self._begin > BOOT_LIMIT_S else None
        return Ending.TOO_LONG if now - self._running > self._limit_s else None

    def times(self) -> tuple[float, float]:
        now = time.monotonic()
        running = self._running if self._running is not None else now
        return running - self._begin, now - running


def _stream(child: subprocess.Popen[bytes], watch: _Watch) -> Ending | None:
    """Copy the guest's output to ours until QEMU ends (None) or has to be stopped (why)."""
    if child.stdout is None:
        raise GuestError("QEMU was started without a pipe")
    source = child.stdout.fileno()
    powering_off_since: float | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        while True:
            if selector.select(_POLL_S):
                data = os.read(source, 65536)
                if not data:
                    return None
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
                continue
            if watch.exit_code() is not None:
                powering_off_since = powering_off_since or time.monotonic()
                if time.monotonic() - powering_off_since > _POWEROFF_LIMIT_S:
                    say("the guest did not power off; stopped it")
                    return None
            elif (bad := watch.verdict()) is not None:
                return bad


def _boot_once(layout: Layout, command: str, accelerator: Accelerator, *, limit_s: float, memory_mib: int) -> Result:
    _clear(layout.out)
    (layout.out / "command").write_text(command)
    initramfs, errors = layout.base / "initramfs", layout.out / "qemu.log"
    write_initramfs(layout, initramfs)
    argv = qemu_argv(
        layout,
        accelerator,
        initramfs=initramfs,
        console=layout.out / "console.log",
        memory_mib=memory_mib,
    )
    watch = _Watch(layout, limit_s)
    with (
        errors.open("wb") as sink,
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=sink, start_new_session=True
        ) as child,
    ):
        try:
            bad = _stream(child, watch)
        finally:
            child.kill()
    boot_s, command_s = watch.times()
    if bad is None:
        exit_code = watch.exit_code()
        # The command's end counts as such even if the kernel stumbled on its way out.
        bad = Ending.EXITED if exit_code is not None else judge_console(watch.console())
        return Result(bad or Ending.QEMU_DIED, exit_code, boot_s, command_s)
    return Result(bad, None, boot_s, command_s)


def _clear(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _explain(layout: Layout, result: Result, limit_s: float) -> GuestError:
    message = result.ending.value
    hint = f"the kernel's messages are in {layout.out / 'console.log'}"
    if result.ending is Ending.TOO_LONG:
        return GuestError(f"{message} (more than {limit_s:.0f} s)", "--time-limit SECONDS")
    if result.ending is Ending.NO_BOOT:
        message += f" ({BOOT_LIMIT_S} s)"
    console = (layout.out / "console.log").read_text(errors="replace").splitlines()[-40:]
    errors = (layout.out / "qemu.log").read_text(errors="replace").splitlines()[-10:]
    return GuestError("\n".join((f"{message}; it last said:", *console, *errors)), hint)


def run_in_guest(layout: Layout, argv: list[str], *, limit_s: float, memory_mib: int) -> int:
    """Boot, run `argv` in the working tree's copy, power off; returns its exit code.

    A boot that ends in the known Oops is reported and repeated, whatever it was doing: the guest
    keeps nothing but what the command wrote to the shared folder. Raises GuestError otherwise.
    """
    accelerator = choose_accelerator()
    for attempt in range(1, _ATTEMPTS + 1):
        say(f"booting Debian 13{layout.kernel and ' with the kernel of ' + layout.kernel} ({accelerator.name})")
        result = _boot_once(layout, shlex.join(argv), accelerator, limit_s=limit_s, memory_mib=memory_mib)
        if result.ending is not Ending.KNOWN_OOPS:
            break
        say(f"boot {attempt} of at most {_ATTEMPTS} ended with {result.ending.value}; again")
    if result.exit_code is None:
        raise _explain(layout, result, limit_s)
    say(f"up after {result.boot_s:.1f} s, command ran {result.command_s:.1f} s, exit code {result.exit_code}")
    return result.exit_code
