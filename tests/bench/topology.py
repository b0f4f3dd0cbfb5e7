"""Three namespaces of the benchmark's own and which core does whose work.

    lvb-client            lvb-box                 lvb-server
    lvb-cl 198.18.0.1 --- lvb-out  lvb-in --- lvb-sv 198.19.0.10
             forged clients: 198.18.64.0 and above

The box routes, or it is a bridge (lvb-br) without an address; then all of 198.18.0.0/15 is one network. With a far
client there is a fourth namespace, lvb-line, in the cable between client and box; distance.py works in it.

A veth pair runs the receiver's softirq on the sender's core, so without care the generator pays for
the box. `confine()` gives each end of the outside link a NAPI kernel thread and pins it: what the box
receives is worked on by the box's core, what it sends is received on the client's core. It needs
GRO on at the receiving end and TSO off at the sending end, else veth hands packets over without
NAPI; `unconfine()` goes back to the kernel's defaults for bulk traffic.

Used by every measurement; knows nothing of peers and packets.
"""

from __future__ import annotations

import enum
import fcntl
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError

CLIENT, BOX, SERVER = "lvb-client", "lvb-box", "lvb-server"
LINE, LINE_CLIENT_IF, LINE_BOX_IF = "lvb-line", "lvb-lc", "lvb-lb"
CLIENT_IF, OUTSIDE_IF, INSIDE_IF, SERVER_IF = "lvb-cl", "lvb-out", "lvb-in", "lvb-sv"
BRIDGE_IF = "lvb-br"
CLIENT_ADDRESS, OUTSIDE_ADDRESS = "198.18.0.1", "198.18.0.2"
INSIDE_ADDRESS, SERVER_ADDRESS = "198.19.0.1", "198.19.0.10"
SERVICE_PORT = 80

CLIENT_CPU, BOX_CPU = 0, 1

_LOCK = Path("/run/lock/levee-bench.lock")
_NAPI_THREAD_WAIT_S = 2.0
_REACHABLE_WAIT_S = 10.0


def say(text: str) -> None:
    """Progress, to the one who waits."""
    print(text, file=sys.stderr, flush=True)


class Shape(enum.Enum):
    """What the box is between the two links."""

    ROUTED = "routed"
    BRIDGE = "bridge"


def run(command: str, text: str | None = None) -> str:
    """Run one set-up command line; its standard output. A failure is the operator's to read."""
    program = command.split(maxsplit=1)[0]
    try:
        done = subprocess.run(shlex.split(command), input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BenchError(f"{program}: not installed", "run `make setup` first") from None
    if done.returncode != 0:
        raise BenchError(f"`{command}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def inside(namespace: str, command: str) -> str:
    """The command line that runs `command` in `namespace`."""
    return f"ip netns exec {namespace} {command}"


def on_cpus(cpus: Sequence[int], command: str) -> str:
    """The command line that runs `command` on these cores only."""
    return f"taskset -c {','.join(map(str, cpus))} {command}"


def mac_of(namespace: str, interface: str) -> bytes:
    """The interface's Ethernet address, 6 bytes."""
    text = run(inside(namespace, f"cat /sys/class/net/{interface}/address"))
    return bytes.fromhex(text.strip().replace(":", ""))


@contextmanager
def alone() -> Iterator[None]:
    """No other benchmark runs on this machine for the length of the context; a second one waits its turn."""
    if os.geteuid() != 0:
        raise BenchError("the benchmark makes network namespaces", "run it as root")
    if (os.cpu_count() or 1) < 2:
        raise BenchError("one core cannot hold both the generator and the box", "use two or more cores")
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def topology(shape: Shape = Shape.ROUTED, *, far: bool = False) -> Iterator[None]:
    """The namespaces, for the length of the context. far: nothing reaches the client but through the line."""
    _remove()
    try:
        _create(shape, far=far)
        if not far:
            wait_reachable(CLIENT_ADDRESS)
        yield
    finally:
        _remove()


def wait_reachable(source: str) -> None:
    """Until the server answers a ping from this address of the client: ports of a bridge need a moment."""
    deadline = time.monotonic() + _REACHABLE_WAIT_S
    ping = inside(CLIENT, f"ping -n -q -c 1 -W 0.2 -I {source} {SERVER_ADDRESS}")
    while subprocess.run(shlex.split(ping), capture_output=True, check=False).returncode != 0:
        if time.monotonic() > deadline:
            raise BenchError(f"{SERVER_ADDRESS} does not answer a ping from {source}")


def next_hop(shape: Shape) -> bytes:
    """The Ethernet address to which the client sends what is for the server, 6 bytes."""
    return mac_of(BOX, OUTSIDE_IF) if shape is Shape.ROUTED else mac_of(SERVER, SERVER_IF)


def confine() -> list[int]:
    """Box work on the box's core, client work on the client's (see the file's head); the box's NAPI threads."""
    for namespace, interface in ((CLIENT, CLIENT_IF), (BOX, OUTSIDE_IF)):
        run(inside(namespace, f"ethtool -K {interface} gro on tso off"))
    for namespace, interface, cpu in ((BOX, OUTSIDE_IF, BOX_CPU), (CLIENT, CLIENT_IF, CLIENT_CPU)):
        _set_threaded(namespace, interface, on=True)
        for thread in _napi_threads(interface):
            os.sched_setaffinity(thread, {cpu})
    return list(_napi_threads(OUTSIDE_IF))


def unconfine() -> None:
    """The kernel's defaults: offloads on, receive work where the sender runs."""
    for namespace, interface in ((CLIENT, CLIENT_IF), (BOX, OUTSIDE_IF)):
        _set_threaded(namespace, interface, on=False)
        run(inside(namespace, f"ethtool -K {interface} gro off tso on"))


def _create(shape: Shape, *, far: bool) -> None:
    for namespace in (CLIENT, BOX, SERVER, *([LINE] if far else [])):
        run(f"ip netns add {namespace}")
        run(f"ip -n {namespace} link set lo up")
        # Neighbour discovery would be counted as work of a peer.
        run(inside(namespace, "sysctl -qw net.ipv6.conf.default.disable_ipv6=1"))
    if far:
        run(f"ip link add {OUTSIDE_IF} netns {BOX} type veth peer name {LINE_BOX_IF} netns {LINE}")
        run(f"ip link add {LINE_CLIENT_IF} netns {LINE} type veth peer name {CLIENT_IF} netns {CLIENT}")
    else:
        run(f"ip link add {OUTSIDE_IF} netns {BOX} type veth peer name {CLIENT_IF} netns {CLIENT}")
    run(f"ip link add {INSIDE_IF} netns {BOX} type veth peer name {SERVER_IF} netns {SERVER}")
    if shape is Shape.BRIDGE:
        run(f"ip -n {BOX} link add {BRIDGE_IF} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
        for port in (OUTSIDE_IF, INSIDE_IF):
            run(f"ip -n {BOX} link set {port} master {BRIDGE_IF}")
        run(f"ip -n {BOX} link set {BRIDGE_IF} up")
    for namespace, interface in ((CLIENT, CLIENT_IF), (BOX, OUTSIDE_IF), (BOX, INSIDE_IF), (SERVER, SERVER_IF)):
        run(f"ip -n {namespace} link set {interface} up")
    if far:
        _make_frames_complete()
    if shape is Shape.BRIDGE:
        _address_one_network()
    else:
        _address_two_networks()


def _make_frames_complete() -> None:
    """The line passes frames on as they come: checksums are in them, and none is longer than the MTU."""
    for namespace, interface in ((CLIENT, CLIENT_IF), (BOX, OUTSIDE_IF), (BOX, INSIDE_IF), (SERVER, SERVER_IF)):
        run(inside(namespace, f"ethtool -K {interface} tx off tso off gso off gro off"))
    for interface in (LINE_CLIENT_IF, LINE_BOX_IF):
        run(f"ip -n {LINE} link set {interface} up")


def _address_one_network() -> None:
    ends = ((CLIENT, CLIENT_IF, CLIENT_ADDRESS), (SERVER, SERVER_IF, SERVER_ADDRESS))
    for (namespace, interface, address), (far, far_interface, far_address) in (ends, ends[::-1]):
        run(f"ip -n {namespace} address add {address}/15 dev {interface}")
        _permanent_neighbour(namespace, interface, far_address, mac_of(far, far_interface))


def _address_two_networks() -> None:
    for namespace, interface, address in (
        (CLIENT, CLIENT_IF, f"{CLIENT_ADDRESS}/30"),
        (BOX, OUTSIDE_IF, f"{OUTSIDE_ADDRESS}/30"),
        (BOX, INSIDE_IF, f"{INSIDE_ADDRESS}/24"),
        (SERVER, SERVER_IF, f"{SERVER_ADDRESS}/24"),
    ):
        run(f"ip -n {namespace} address add {address} dev {interface}")
    # No default routes: the generator refuses to run where there is one.
    run(f"ip -n {CLIENT} route add 198.19.0.0/24 via {OUTSIDE_ADDRESS}")
    run(f"ip -n {SERVER} route add 198.18.0.0/16 via {INSIDE_ADDRESS}")
    run(f"ip -n {BOX} route add 198.18.0.0/16 via {CLIENT_ADDRESS}")
    no_filter = " ".join(f"net.ipv4.conf.{name}.rp_filter=0" for name in ("all", OUTSIDE_IF, INSIDE_IF))
    run(inside(BOX, f"sysctl -qw net.ipv4.ip_forward=1 {no_filter}"))
    # A lost neighbour entry in the middle of a run would be measured as loss of the peer.
    _permanent_neighbour(BOX, OUTSIDE_IF, CLIENT_ADDRESS, mac_of(CLIENT, CLIENT_IF))
    _permanent_neighbour(BOX, INSIDE_IF, SERVER_ADDRESS, mac_of(SERVER, SERVER_IF))
    _permanent_neighbour(CLIENT, CLIENT_IF, OUTSIDE_ADDRESS, mac_of(BOX, OUTSIDE_IF))
    _permanent_neighbour(SERVER, SERVER_IF, INSIDE_ADDRESS, mac_of(BOX, INSIDE_IF))


def _permanent_neighbour(namespace: str, interface: str, address: str, mac: bytes) -> None:
    run(f"ip -n {namespace} neighbour replace {address} lladdr {mac.hex(':')} dev {interface} nud permanent")


def _remove() -> None:
    present = {line.split()[0] for line in run("ip netns list").splitlines() if line}
    for namespace in present.intersection((CLIENT, BOX, SERVER, LINE)):
        run(f"ip netns delete {namespace}")


def _set_threaded(namespace: str, interface: str, *, on: bool) -> None:
    # `ip netns exec` mounts a sysfs of the namespace; the attribute cannot be reached otherwise.
    run(inside(namespace, f"sh -c 'echo {int(on)} > /sys/class/net/{interface}/threaded'"))


def _napi_threads(interface: str) -> Sequence[int]:
    """The process ids of the interface's NAPI kernel threads, which start shortly after the switch."""
    deadline = time.monotonic() + _NAPI_THREAD_WAIT_S
    while time.monotonic() < deadline:
        if found := list(_threads_named(f"napi/{interface}-")):
            return found
        time.sleep(0.02)
    raise BenchError(
        f"{interface}: no NAPI thread appeared", "the kernel must know /sys/class/net/*/threaded (5.12 or newer)"
    )


def _threads_named(prefix: str) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name = (entry / "comm").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # the process ended while we looked
        if name.startswith(prefix):
            yield int(entry.name)
