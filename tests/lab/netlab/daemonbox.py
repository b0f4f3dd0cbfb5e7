"""A box of its own, without peers: one namespace with two interfaces, and the daemons that are started in it.

For tests of `levee run` as a process. No packet is sent here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance import client
from appliance.errors import OperatorError
from cext.netlink import QueueSocket
from netlab import netns
from netlab.appliance import command
from netlab.process import in_namespace, run
from netlab.topology import Mode

LIMIT_S = 30.0
SERVICES = """\
services:
  web: {addresses: [198.19.0.1, "2001:db8:19::1"], ports: [80]}
"""


@dataclass
class Box:
    """A namespace, and the daemons that were started in it."""

    namespace: str
    folder: Path
    mode: Mode
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def config_file(self) -> Path:
        return self.folder / "levee.yaml"

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "control.sock"

    def configure(self, services: str = SERVICES, *, nfqueue: str = "queues: 2", runtime: str = "run") -> None:
        bridge = "bridge: br0\n" if self.mode is Mode.BRIDGE else ""
        self.config_file.write_text(
            f"version: 1\nmode: {self.mode}\nengine: nfqueue\n{bridge}"
            f"outside: outside\ninside: inside\n"
            f"nfqueue: {{{nfqueue}}}\n"
            f"limits: {{flows: 4096}}\nruntime_dir: {self.folder}/{runtime}\nstate_dir: {self.folder}/state\n{services}"
        )

    def nft(self, *arguments: str, text_in: str | None = None) -> str:
        return run(["nft", *arguments], namespace=self.namespace, text_in=text_in).stdout

    @property
    def table(self) -> str:
        return f"table {'bridge' if self.mode is Mode.BRIDGE else 'inet'} levee"

    def rules(self) -> str:
        return self.nft("list", "ruleset")

    def our_iptables_rules(self) -> list[str]:
        return [
            line
            for program in ("iptables", "ip6tables")
            for line in run([program, "-t", "raw", "-S"], namespace=self.namespace).stdout.splitlines()
            if "NFQUEUE" in line
        ]

    def spawn(self, *prefix: str, **environment: str) -> subprocess.Popen[str]:
        """A daemon that may or may not come up; `prefix` is a command that starts it."""
        argv = [*prefix, str(command()), "run", "-c", str(self.config_file)]
        argv = in_namespace(self.namespace, argv)
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self.children.append(child)
        return child

    def start(self, *prefix: str, **environment: str) -> subprocess.Popen[str]:
        """A daemon that is ready."""
        child = self.spawn(*prefix, **environment)
        self.wait(lambda: child.poll() is not None or (self.socket.exists() and self.answers()))
        assert child.poll() is None, said(child)
        return child

    def answers(self) -> bool:
        try:
            self.status()
        except OperatorError:
            return False
        return True

    def status(self) -> dict[str, Any]:
        """Asked over the socket, which leads out of the namespace: starting `levee status` takes longer."""
        return client.call(self.socket, "org.levee.Status")

    def settle(self) -> None:
        """The daemon has taken the signals sent before, and done what they led to: one job comes after another."""
        for _ in range(2):
            assert self.answers()
        client.call(self.socket, "org.levee.History")

    def argv(self, *arguments: str) -> list[str]:
        """The command line of an operator's command."""
        return [str(command()), *arguments, "--socket", str(self.socket)]

    def levee(self, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """One command of an operator, who sits outside the namespace."""
        argv = [*prefix, *self.argv(*arguments)]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=LIMIT_S * 2)

    @contextlib.contextmanager
    def taken_queue(self, queue: int) -> Iterator[None]:
        """Another program reads the queue."""
        other = QueueSocket()
        with netns.entered(self.namespace):
            other.open(queue, 64, fail_open=False)
        try:
            yield
        finally:
            other.close()

    @staticmethod
    def wait(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
        limit = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < limit, "it did not happen"
            time.sleep(0.05)


def said(child: subprocess.Popen[str]) -> str:
    """What a daemon that has ended wrote."""
    _, text = child.communicate(timeout=LIMIT_S)
    return text


def end(child: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
    """Exit code and log of a daemon that is told to stop."""
    child.send_signal(number)
    return child.wait(LIMIT_S), said(child)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users can look into: every run of pytest shuts its own for them, also those of others."""
    with tempfile.TemporaryDirectory(prefix="levee-box-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextlib.contextmanager
def namespace(name: str) -> Iterator[None]:
    run(["ip", "netns", "add", name])
    try:
        for interface in ("outside", "inside"):
            run(["ip", "link", "add", interface, "type", "veth", "peer", "name", f"{interface}-far"], namespace=name)
        run(["ip", "link", "add", "br0", "type", "bridge"], namespace=name)
        for interface in ("outside", "inside", "br0"):
            run(["ip", "link", "set", interface, "up"], namespace=name)
        for interface in ("outside", "inside"):
            run(["ip", "link", "set", interface, "master", "br0"], namespace=name)
        run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"], namespace=name)
        yield
    finally:
        run(["ip", "netns", "del", name])
