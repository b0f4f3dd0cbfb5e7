"""The place where the commands of a page are run: a box as a reader has it, between a client and a web server.

    198.51.100.7 client:eth0 --- eth0:box:eth1 --- server:eth0 192.0.2.10, port 80

Owns three namespaces, and mounts of the box's own over /etc, /run and /var/lib: what a page does to its machine is gone
afterwards. Called by test_printed.py. Knows nothing of pages but their steps.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from netlab import netns, nic
from netlab.names import REPOSITORY, Names
from netlab.printed import Step
from netlab.process import LabError, in_namespace, run

LIMIT_S = 120.0
INTERRUPTED_AFTER_S = 1.5
CLIENT, SERVER = "198.51.100.7", "192.0.2.10"
CLIENT6, SERVER6 = "2001:db8:51::7", "2001:db8:10::10"
MOUNTS = """
mount -t tmpfs tmpfs {own} && cp -a /etc {own}/etc && mkdir {own}/run {own}/lib
mount --bind {own}/etc /etc && mount --bind {own}/run /run && mount --bind {own}/lib /var/lib
mkdir -p /etc/levee /run/levee /var/lib/levee
echo ready
exec sleep infinity
"""


@dataclass
class Bed:
    """A box that is up. `holder` keeps its mounts; `folder` is what a reader has checked out."""

    names: Names
    folder: Path
    holder: subprocess.Popen[str]
    background: list[subprocess.Popen[str]] = field(default_factory=list)

    def argv(self, step: Step) -> list[str]:
        """The command line that runs a step where it belongs."""
        if step.place == "make":
            return ["grep", "--quiet", f"^{step.command.split()[1]}:", str(REPOSITORY / "Makefile")]
        shell = ["bash", "-c", f"cd {self.folder}; {step.command}"]
        if step.place == "client":
            return in_namespace(self.names.client, shell)
        return ["nsenter", "--target", str(self.holder.pid), "--mount", "--net", *shell]

    def do(self, step: Step) -> tuple[int, str]:
        """Exit code and output of a step; of one in the background, once levee answers."""
        environment = {**os.environ, "PATH": f"{REPOSITORY}/.venv/bin:{os.environ['PATH']}"}
        environment.pop("LEVEE_SOCKET", None)
        child = subprocess.Popen(
            self.argv(step),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        )
        if step.way == "background":
            self.background.append(child)
            return self._answers(child)
        try:
            said, _ = child.communicate(timeout=INTERRUPTED_AFTER_S if step.way == "interrupted" else LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGINT if step.way == "interrupted" else signal.SIGKILL)
            said, _ = child.communicate(timeout=LIMIT_S)
            if step.way == "interrupted":
                return 0, said
            return -1, f"did not end within {LIMIT_S:.0f} s\n{said}"
        return child.returncode, said

    def _answers(self, child: subprocess.Popen[str]) -> tuple[int, str]:
        asked = Step(0, "levee status", "box")
        limit = time.monotonic() + LIMIT_S
        while child.poll() is None and time.monotonic() < limit:
            code, _ = self.do(asked)
            if code in (0, 1, 2):
                return 0, ""
            time.sleep(0.1)
        self.background.remove(child)
        child.kill()
        said, _ = child.communicate(timeout=LIMIT_S)
        return child.returncode, said

    def end(self) -> None:
        """What is still in the background is told to stop."""
        for child in reversed(self.background):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
            child.communicate(timeout=LIMIT_S)


@contextlib.contextmanager
def bed(names: Names, mode: str, scratch: Path) -> Iterator[Bed]:
    """A fresh box, as `mode` has it, with a client that has the programs of a NIC, and a web server."""
    netns.require_root()
    own, folder, www = scratch / "own", scratch / "levee", scratch / "www"
    for made in (own, folder, www):
        made.mkdir()
    (www / "index.html").write_text("it works\n")
    shutil.copytree(REPOSITORY / "configs", folder / "configs")
    (folder / ".venv").symlink_to(REPOSITORY / ".venv")
    (folder / "image").symlink_to(REPOSITORY / "image")
    with contextlib.ExitStack() as stack:
        for name in names.namespaces:
            run(["ip", "netns", "add", name])
            stack.callback(netns.remove, name)
        _wire(names, mode)
        server = in_namespace(names.server, ["python3", "-m", "http.server", "80", "--directory", str(www)])
        web = subprocess.Popen(server, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.enter_context(web)
        stack.callback(web.terminate)
        _wait_listening(names)
        script = MOUNTS.format(own=own)
        argv = in_namespace(names.box, ["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", script])
        holder = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        stack.enter_context(holder)
        stack.callback(holder.terminate)
        assert holder.stdout is not None
        if holder.stdout.readline() != "ready\n":
            raise LabError("the mounts of the box could not be made")
        made_bed = Bed(names, folder, holder)
        stack.callback(made_bed.end)
        yield made_bed


def _wait_listening(names: Names) -> None:
    limit = time.monotonic() + LIMIT_S
    while time.monotonic() < limit:
        with netns.new_socket(names.server, socket.AF_INET, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(("127.0.0.1", 80)) == 0:
                return
        time.sleep(0.05)
    raise LabError("the web server does not listen")


def _wire(names: Names, mode: str) -> None:
    for end, port in ((names.client, "eth0"), (names.server, "eth1")):
        veth = ["ip", "link", "add", "eth0", "netns", end, "type", "veth", "peer", "name", port, "netns", names.box]
        run(veth)
        run(["ip", "link", "set", "eth0", "up"], namespace=end)
        run(["sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.eth0.accept_dad=0"], namespace=end)
    run(["ip", "link", "set", "lo", "up"], namespace=names.server)
    nic.behave(names)
    routed = mode == "routed"
    client = [f"addr add {CLIENT}/24 dev eth0", f"addr add {CLIENT6}/64 dev eth0 nodad"]
    server = [f"addr add {SERVER}/24 dev eth0", f"addr add {SERVER6}/64 dev eth0 nodad"]
    if routed:
        client += ["route add 192.0.2.0/24 via 198.51.100.1", "route add 2001:db8:10::/64 via 2001:db8:51::1"]
        server += ["route add 198.51.100.0/24 via 192.0.2.1", "route add 2001:db8:51::/64 via 2001:db8:10::1"]
        box = ["link set eth0 up", "link set eth1 up", "addr add 198.51.100.1/24 dev eth0"]
        box += ["addr add 192.0.2.1/24 dev eth1", "addr add 2001:db8:51::1/64 dev eth0 nodad"]
        box += ["addr add 2001:db8:10::1/64 dev eth1 nodad"]
        run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"], namespace=names.box)
        run(["ip", "-batch", "-"], namespace=names.box, text_in="\n".join(box) + "\n")
    else:
        client += ["route add 192.0.2.0/24 dev eth0", "route add 2001:db8:10::/64 dev eth0"]
        server += ["route add 198.51.100.0/24 dev eth0", "route add 2001:db8:51::/64 dev eth0"]
    run(["ip", "-batch", "-"], namespace=names.client, text_in="\n".join(client) + "\n")
    run(["ip", "-batch", "-"], namespace=names.server, text_in="\n".join(server) + "\n")
