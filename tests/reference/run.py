"""The reference on real packets: NetfilterQueue in, verdicts and raw sockets out, one packet at a time.

    iptables -t raw -A PREROUTING -i OUTSIDE -p tcp -d SERVER --dport 80 -j NFQUEUE --queue-num 40
    iptables -t raw -A PREROUTING -i INSIDE -p tcp -s SERVER --sport 80 -j NFQUEUE --queue-num 40
    run.py --queue 40 --outside OUTSIDE --inside INSIDE

For routed boxes. Prints `ready` when it listens; ends on SIGTERM or SIGINT. It is slow by design, and the naive peer
of the benchmark for that reason. Owns sockets and clocks, nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import select
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

from netfilterqueue import NetfilterQueue, Packet

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reference.connection import Side, Verdict
from reference.proxy import Proxy, Settings

TICK_S = 0.1
IPV6_HDRINCL = 36  # linux/in6.h


class Runner:
    """One queue, one thread."""

    def __init__(self, outside: str, inside: str) -> None:
        self._proxy = Proxy(Settings(secret=secrets.token_bytes(32)))
        self._sides = {socket.if_nametoindex(outside): Side.OUTSIDE, socket.if_nametoindex(inside): Side.INSIDE}
        self._raw4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._raw6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._raw6.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)

        self._tick_at = 0.0

    def packet(self, packet: Packet) -> None:
        """A packet of the queue: settle it and send what it brought about."""
        side = self._sides.get(packet.indev)
        if side is None:
            packet.accept()
            return
        if time.monotonic() >= self._tick_at:  # under load the queue is never empty
            self.tick()
        result = self._proxy.packet(side, packet.get_payload(), *_clocks())
        if result.verdict is Verdict.DROP:
            packet.drop()
        else:
            if result.verdict is Verdict.REWRITE:
                packet.set_payload(result.data)
            packet.accept()
        self._send(result.sent)

    def tick(self) -> None:
        """Timers."""
        self._tick_at = time.monotonic() + TICK_S
        self._send(self._proxy.tick(*_clocks()))

    def _send(self, sent: tuple[tuple[Side, bytes], ...]) -> None:
        for _, data in sent:
            if data[0] >> 4 == 6:
                self._raw6.sendto(data, (socket.inet_ntop(socket.AF_INET6, data[24:40]), 0))
            else:
                self._raw4.sendto(data, (socket.inet_ntop(socket.AF_INET, data[16:20]), 0))


def _clocks() -> tuple[int, int]:
    return time.monotonic_ns() // 1_000_000, int(time.time())


class _Stop(Exception):
    pass


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _Stop


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="the reference SYN proxy on a queue of packets")
    parser.add_argument("--queue", type=int, required=True)
    parser.add_argument("--outside", required=True, help="interface towards the clients")
    parser.add_argument("--inside", required=True, help="interface towards the servers")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root, for the queue and the raw sockets")
    runner = Runner(options.outside, options.inside)
    queue = NetfilterQueue()
    queue.bind(options.queue, runner.packet)
    readable = select.poll()
    readable.register(queue.get_fd(), select.POLLIN)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    print("ready", flush=True)
    with contextlib.suppress(_Stop):
        while True:
            if readable.poll(TICK_S * 1000):
                queue.run(block=False)
            runner.tick()
    queue.unbind()


if __name__ == "__main__":
    main()
