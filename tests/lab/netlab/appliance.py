"""The appliance in the box of a lab: start, readiness, status, kill, stop.

Owns the daemon process and its log. Called by lab.py and by fixtures. Talks to the product only as
an operator does: `levee check`, `levee run`, `levee status --json`, signals.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netlab.names import REPOSITORY, Names
from netlab.process import LabError, in_namespace, run, start_time, tail

READY_LIMIT_S = 90.0  # an emulated machine verifies programs for 20 s
STOP_LIMIT_S = 10.0
STATES = (0, 1, 2)  # `levee status`: fine, attack, degraded
ON_PATH = Path("/usr/local/bin/levee")


def command() -> Path:
    """The `levee` to run: $LEVEE, else the one built in this repository, else the one on PATH."""
    chosen = os.environ.get("LEVEE")
    built = REPOSITORY / ".venv/bin/levee"
    if chosen:
        return Path(chosen)
    if built.exists():
        return built
    found = shutil.which("levee")
    if found is None:
        raise LabError("no levee command found", "run `make build` first, or set LEVEE=/path/to/levee")
    return Path(found).resolve()


def put_on_path(target: Path) -> None:
    """`levee` works inside `ip netns exec`; a file that is not our link is left alone."""
    if ON_PATH.is_symlink() and not ON_PATH.exists():
        ON_PATH.unlink()  # a link to a build that is gone helps nobody
    if not ON_PATH.exists() and target != ON_PATH:
        ON_PATH.symlink_to(target)


def take_off_path(target: Path) -> None:
    if ON_PATH.is_symlink() and ON_PATH.readlink() == target:
        ON_PATH.unlink()


def check(levee: Path, configuration: Path) -> None:
    """The product's own words when it refuses this configuration."""
    done = run([str(levee), "check", str(configuration)], check=False)
    if done.returncode != 0:
        raise LabError(f"levee refuses this lab:\n{(done.stderr + done.stdout).strip()}")


@dataclass(frozen=True)
class Process:
    """A daemon by pid and start time, so that a pid used again is never mistaken for it."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.pid, number)

    def wait_gone(self, limit_s: float) -> bool:
        limit = time.monotonic() + limit_s
        while self.alive:
            if time.monotonic() > limit:
                return False
            # A child of ours must be reaped, a daemon of an earlier command must not.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
            time.sleep(0.01)
        return True


@dataclass(frozen=True)
class Appliance:
    names: Names
    levee: Path

    @property
    def log(self) -> Path:
        return self.names.lab_dir / "levee.log"

    def start(
        self, configuration: Path, limit_s: float = READY_LIMIT_S, *, environment: Mapping[str, str] | None = None
    ) -> Process:
        """Start the daemon in the box and wait until it answers `status`. `environment` is beside ours."""
        argv = in_namespace(self.names.box, [str(self.levee), "run", "-c", str(configuration)])
        with self.log.open("ab") as log:
            child = subprocess.Popen(  # outlives this command: it is the lab's, not ours
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | (environment or {}),
            )
        started = start_time(child.pid)
        limit = time.monotonic() + limit_s
        while started is not None and child.poll() is None:
            if self._answers():
                child.returncode = 0  # not waited for by subprocess: it stays
                return Process(child.pid, started)
            if time.monotonic() > limit:
                child.kill()
                child.wait()
                raise LabError(f"levee was not ready within {limit_s:.0f} s:\n{tail(self.log)}")
            time.sleep(0.02)
        raise LabError(f"levee run ended with exit {child.wait()}:\n{tail(self.log)}")

    def stop(self, process: Process) -> None:
        process.signal(signal.SIGTERM)
        if not process.wait_gone(STOP_LIMIT_S):
            process.signal(signal.SIGKILL)
            process.wait_gone(1.0)
            raise LabError(f"levee did not stop within {STOP_LIMIT_S:.0f} s of SIGTERM:\n{tail(self.log)}")

    def kill(self, process: Process) -> None:
        process.signal(signal.SIGKILL)
        process.wait_gone(STOP_LIMIT_S)

    def status(self) -> dict[str, Any]:
        done = self._status()
        if done.returncode not in STATES:
            raise LabError(f"levee status: {(done.stderr or done.stdout).strip()}\n{tail(self.log)}")
        loaded: dict[str, Any] = json.loads(done.stdout)
        return loaded

    def _status(self) -> subprocess.CompletedProcess[str]:
        argv = [str(self.levee), "status", "--json", "--socket", str(self.names.socket)]
        return run(argv, namespace=self.names.box, check=False)

    def _answers(self) -> bool:
        # Starting Python for nothing is slow: ask only when there is a socket to ask.
        return self.names.socket.exists() and self._status().returncode in STATES
