"""`levee capture`: packets with what the box did with each, and why, as a pcapng file or a line each.

Bounded in packets, bytes and time; the first bound that is reached ends it, as does an interrupt. The daemon holds a
few hundred packets for us: what we do not take in time is counted as missed, and never delays a packet.
"""

from __future__ import annotations

import base64
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from appliance import capture, client, exits, pcapng
from appliance.errors import OperatorError, WrongValue
from appliance.packettext import described
from appliance.version import version
from cext.dataplane import DROP_REASONS

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    from appliance.capture import PacketReport

PAUSE_S = 0.05
SIDES = {"outside": 0, "inside": 1}


class Sink(Protocol):
    """Where packets go."""

    def packet(self, one: PacketReport) -> int:
        """Writes it; how many bytes that took."""

    def end(self, missed: int) -> None:
        """Says what is missing."""


class PcapngFile:
    """A pcapng file that is being written."""

    def __init__(self, file: BinaryIO, interfaces: tuple[str, str], asked: str, bytes_each: int) -> None:
        self._file = file
        self._write(pcapng.section(f"levee capture{asked}", f"levee {version()}"))
        for name, side in zip(interfaces, SIDES, strict=True):
            self._write(pcapng.interface(name, f"{side} of the box", bytes_each))

    def packet(self, one: PacketReport) -> int:
        """Its verdict is the comment."""
        data = base64.b64decode(one["data"])
        sent = one["fate"] == "sent"
        made = pcapng.packet(SIDES[one["side"]], one["time_ns"], data, one["length"], comment(one), outbound=sent)
        self._write(made)
        return len(made)

    def end(self, missed: int) -> None:
        """Statistics of the whole capture, at the first interface."""
        self._write(pcapng.statistics(0, time.time_ns(), missed))

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OperatorError(
                f"the capture cannot be written: {error.strerror}", "has the disk room? What was written can be read"
            ) from error


class Lines:
    """A line for each packet on stdout."""

    def packet(self, one: PacketReport) -> int:
        """Time, side, what it is, what became of it."""
        at = datetime.fromtimestamp(one["time_ns"] // 10**9, UTC)
        micros = one["time_ns"] % 10**9 // 1000
        what = described(base64.b64decode(one["data"]))
        arrow = "to" if one["fate"] == "sent" else "from"
        line = f"{at:%H:%M:%S}.{micros:06d} {arrow:>4} {one['side']:<7} {what}: {comment(one)}"
        print(line, flush=True)
        return len(line) + 1

    def end(self, missed: int) -> None:
        """Nothing: the summary says it."""


def comment(one: PacketReport) -> str:
    """What became of a packet: fate, reason and its text, service."""
    reason = f" {one['reason']} ({DROP_REASONS.get(one['reason'], '')})" if one["reason"] else ""
    service = f", service {one['service']}" if one["service"] else ""
    return f"{one['fate']}{reason}{service}"


def execute(arguments: Namespace) -> int:
    """Captures until a bound is reached; what it came to is said on stderr."""
    path = client.socket_path(arguments.socket)
    try:
        capture.wanted(
            address=arguments.address,
            service=arguments.service,
            reasons=tuple(arguments.reason.split(",")) if arguments.reason else (),
            bytes_each=arguments.snap,
            until_ns=0,
        )
    except WrongValue as error:
        raise OperatorError(error.wrong, f"{error.right} would be right") from error
    asked = {
        name: value
        for name, value in (
            ("address", arguments.address),
            ("service", arguments.service),
            ("reasons", arguments.reason),
            ("seconds", arguments.seconds),
            ("bytes_each", arguments.snap),
        )
        if value is not None
    }
    with ExitStack() as undo:
        file = None if arguments.write is None else undo.enter_context(_opened(arguments.write))
        begun = client.call(path, "org.levee.Capture", asked)
        number = begun["capture"]
        undo.callback(lambda: _end(path, number))
        words = "".join(f" {name} {value}" for name, value in asked.items())
        interfaces = str(begun["outside"]), str(begun["inside"])
        sink: Sink = Lines() if file is None else PcapngFile(file, interfaces, words, arguments.snap)
        _follow(path, number, sink, arguments.packets, arguments.bytes)
    return exits.DONE


def _follow(path: Path, number: object, sink: Sink, packets: int, room: int) -> None:
    """Page by page, until enough was written or nothing more comes."""
    written = used = missed = 0
    why = "the time is over"
    try:
        over = False
        while not over:
            reply = client.call(path, "org.levee.CaptureTake", {"capture": number})
            found = cast("list[PacketReport]", reply["packets"])
            missed, over = cast("int", reply["missed"]), bool(reply["over"])
            for one in found:
                used += sink.packet(one)
                written += 1
                if written >= packets or used >= room:
                    why = f"{packets} packets are enough" if written >= packets else "there was room for no more"
                    over = True
                    break
            if not found and not over:
                time.sleep(PAUSE_S)
    except KeyboardInterrupt:
        why = "interrupted"
    sink.end(missed)
    print(f"{written} packets, {missed} more found no room in time; {why}", file=sys.stderr)


def _opened(path: Path) -> BinaryIO:
    if str(path) == "-":
        return open(sys.stdout.fileno(), "wb", closefd=False)
    try:
        return path.open("wb")
    except OSError as error:
        raise OperatorError(
            f"{path}: cannot be written: {error.strerror}", "name a file in a folder of yours"
        ) from error


def _end(path: Path, number: object) -> None:
    client.call(path, "org.levee.CaptureEnd", {"capture": number})
