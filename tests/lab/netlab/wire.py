"""Frames as they are on an interface of the lab: capture, and a pcap file of what was seen.

AF_PACKET sees frames before the kernel's filters, in both directions. The kernel takes VLAN tags
out of the frame and reports them beside it; they are put back here. Frames that a local stack sends
may carry partial checksums (the interface would finish them): `checksum_ready` says so.
Scapy is imported only where packets are asked for. Called by tests.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from netlab import netns

if TYPE_CHECKING:
    from scapy.packet import Packet

SOL_PACKET = 263
PACKET_STATISTICS = 6
PACKET_AUXDATA = 8
SO_RCVBUFFORCE = 33
PACKET_OUTGOING = 4
ETH_P_ALL = 3
TP_STATUS_CSUMNOTREADY = 1 << 3
TP_STATUS_VLAN_VALID = 1 << 4
TP_STATUS_VLAN_TPID_VALID = 1 << 6
_AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata, linux/if_packet.h
_STATISTICS = struct.Struct("=II")  # struct tpacket_stats
SETTLE_S = 0.2
DRAIN_LIMIT_S = 1.0
FRAME_BYTES_MAX = 1 << 17  # a GSO packet of 64 KiB and its headers


@dataclass(frozen=True)
class Frame:
    """One Ethernet frame. `sent`: it left the namespace; else it arrived there."""

    at_s: float
    data: bytes
    sent: bool
    checksum_ready: bool


class PacketSocket:
    """A raw socket on one interface of a namespace, usable from any namespace."""

    def __init__(self, namespace: str, interface: str) -> None:
        with netns.entered(namespace):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            try:
                self.socket.bind((interface, ETH_P_ALL))
                self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
                # Python reads slowly on a busy core: room for a few megabytes of segments, each with its own overhead.
                self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 26)
            except OSError:
                self.socket.close()
                raise

    def close(self) -> None:
        self.socket.close()

    def lost(self) -> int:
        """Frames that found no room since the last call."""
        _, drops = _STATISTICS.unpack(self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, _STATISTICS.size))
        return int(drops)

    def send(self, frame: bytes) -> None:
        self.socket.send(frame)

    def receive(self, limit_s: float) -> Frame | None:
        """The next frame in either direction, or None when none came in time."""
        ready, _, _ = select.select([self.socket], [], [], max(0.0, limit_s))
        if not ready:
            return None
        data, ancillary, _, address = self.socket.recvmsg(FRAME_BYTES_MAX, 256)
        checksum_ready = True
        for level, kind, value in ancillary:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, _, _, _, _, tci, tpid = _AUXDATA.unpack_from(value)
                checksum_ready = not status & TP_STATUS_CSUMNOTREADY
                if status & TP_STATUS_VLAN_VALID:
                    known = tpid if status & TP_STATUS_VLAN_TPID_VALID else 0x8100
                    data = data[:12] + struct.pack("!HH", known, tci) + data[12:]
        return Frame(time.monotonic(), data, address[2] == PACKET_OUTGOING, checksum_ready)


class Capture:
    """Collects frames of one interface while the block is executed; `lost`: those missing in it, once it has ended."""

    def __init__(self, namespace: str, interface: str) -> None:
        self.lost = 0
        self._where = (namespace, interface)
        self._frames: list[Frame] = []
        self._ended = threading.Event()
        self._socket: PacketSocket | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Capture:
        self._socket = PacketSocket(*self._where)
        self._thread = threading.Thread(target=self._collect, args=(self._socket,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._socket is not None:
            self.lost = self._socket.lost()
            self._socket.close()

    def _collect(self, source: PacketSocket) -> None:
        """Until the block has ended, and then what had come by then, for at most DRAIN_LIMIT_S under load."""
        limit = None
        while limit is None or time.monotonic() < limit:
            frame = source.receive(0.05)
            if frame is not None:
                self._frames.append(frame)
            elif limit is not None:
                return
            if limit is None and self._ended.is_set():
                limit = time.monotonic() + DRAIN_LIMIT_S

    def frames(self) -> list[Frame]:
        return list(self._frames)

    def tcp(self, wanted: Callable[[Packet], object] = lambda _: True) -> list[Packet]:
        """TCP packets (Scapy Ether) that `wanted` accepts, in order, with `.time` and `.sent`."""
        return [p for p in self.packets() if p.haslayer("TCP") and wanted(p)]

    def packets(self) -> list[Packet]:
        from scapy.layers.l2 import Ether

        found: list[Packet] = []
        for frame in self.frames():
            packet: Packet = Ether(frame.data)
            packet.time = frame.at_s
            packet.sniffed_on = "sent" if frame.sent else "received"
            found.append(packet)
        return found

    def wait_for(self, wanted: Callable[[Packet], object], limit_s: float = 5.0) -> Packet:
        """The first packet that `wanted` accepts; AssertionError when none came in time."""
        limit = time.monotonic() + limit_s
        while time.monotonic() < limit:
            for packet in self.packets():
                if wanted(packet):
                    return packet
            time.sleep(0.02)
        raise AssertionError("no such packet on the wire; seen:\n" + self.summary())

    def settle(self) -> None:
        """Return when nothing has come for a moment: what was on the way is in the list."""
        seen = -1
        while seen != len(self._frames):
            seen = len(self._frames)
            time.sleep(SETTLE_S)

    def summary(self) -> str:
        return "\n".join(f"{p.sniffed_on:>8} {p.summary()}" for p in self.packets())

    def save(self, path: Path) -> None:
        """Write a pcap file (LINKTYPE_ETHERNET, microseconds)."""
        with contextlib.closing(path.open("wb")) as out:
            out.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, FRAME_BYTES_MAX, 1))
            for frame in self.frames():
                seconds, rest = divmod(frame.at_s, 1.0)
                sizes = (len(frame.data), len(frame.data))
                out.write(struct.pack("=IIII", int(seconds), int(rest * 1e6), *sizes))
                out.write(frame.data)
