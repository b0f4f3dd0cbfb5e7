"""The SYN generator: a pool of prepared frames, sent by AF_PACKET in batches. A process of its own.

Each frame is a SYN with the options a Linux client sends (MSS, SACK, timestamps, window scale), from a
random source in 198.18.64.0/18 with a random port and ISN; checksums are complete. The pool is
sent round and round and is larger than the box's half-open cache, so a repeated SYN is a new one.
Bounded: it stops after `--seconds`, whatever happens. Byte order: network, in the frames.

    python -m bench.generator --interface lvb-cl --to 02:... --seconds 3 [--pps N] [--pool N]

Prints `ready`, then at the end one JSON object {sent, refused, elapsed_s}. `refused` counts the
calls in which the link took nothing: then the receiver is the slower one.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import socket
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]

ETHERNET_BYTES, IP_BYTES, TCP_BYTES = 14, 20, 40
FRAME_BYTES = ETHERNET_BYTES + IP_BYTES + TCP_BYTES
SOURCE_PREFIX = (198, 18)
SOURCE_THIRD_BYTES = range(64, 128)  # 198.18.64.0/18, with FIRST_PORT: a billion distinct flows
FIRST_PORT = 1024

# MSS 1460, SACK permitted, timestamps, NOP, window scale 7: the order a Linux client uses.
_SYN_OPTIONS = bytes.fromhex("020405b4 0402 080a 00010203 00000000 01 030307")
_MAX_BATCH = 64
_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20
_MMSGHDR_WORDS, _NAME_WORDS = 8, 2  # struct mmsghdr is 64 bytes on 64-bit Linux; msg_iov is word 2


@dataclass(frozen=True)
class Sent:
    """What a run did: frames the link took, calls it refused, seconds."""

    sent: int
    refused: int
    elapsed_s: float


def build_pool(count: int, source_mac: bytes, target_mac: bytes, target: str, port: int, seed: int = 1) -> Frames:
    """`count` complete SYN frames, shape (count, FRAME_BYTES); equal seeds give equal frames."""
    random = np.random.default_rng(seed)
    frames = np.zeros((count, FRAME_BYTES), np.uint8)
    frames[:, 0:6] = np.frombuffer(target_mac, np.uint8)
    frames[:, 6:12] = np.frombuffer(source_mac, np.uint8)
    frames[:, 12:14] = (0x08, 0x00)

    ip = frames[:, ETHERNET_BYTES : ETHERNET_BYTES + IP_BYTES]
    ip[:, 0] = 0x45
    ip[:, 3] = IP_BYTES + TCP_BYTES
    ip[:, 4:6] = random.integers(0, 256, (count, 2))
    ip[:, 6] = 0x40  # do not fragment
    ip[:, 8:10] = (64, socket.IPPROTO_TCP)
    ip[:, 12:14] = SOURCE_PREFIX
    ip[:, 14] = random.integers(SOURCE_THIRD_BYTES.start, SOURCE_THIRD_BYTES.stop, count)
    ip[:, 15] = random.integers(0, 256, count)
    ip[:, 16:20] = np.frombuffer(socket.inet_aton(target), np.uint8)
    ip[:, 10:12] = _checksums(ip)

    tcp = frames[:, ETHERNET_BYTES + IP_BYTES :]
    tcp[:, 0:2] = _big_endian_16(random.integers(FIRST_PORT, 65536, count))
    tcp[:, 2:4] = np.frombuffer(port.to_bytes(2, "big"), np.uint8)
    tcp[:, 4:8] = random.integers(0, 256, (count, 4))
    tcp[:, 12:14] = ((TCP_BYTES // 4) << 4, 0x02)
    tcp[:, 14:16] = (0xFA, 0xF0)
    tcp[:, 20:40] = np.frombuffer(_SYN_OPTIONS, np.uint8)
    pseudo = np.zeros((count, 12 + TCP_BYTES), np.uint8)
    pseudo[:, 0:8] = ip[:, 12:20]
    pseudo[:, 9] = socket.IPPROTO_TCP
    pseudo[:, 11] = TCP_BYTES
    pseudo[:, 12:] = tcp
    tcp[:, 16:18] = _checksums(pseudo)
    return frames


def send(interface: str, frames: Frames, seconds: float, pps: float) -> Sent:
    """Send the pool round and round for `seconds`, at `pps` frames a second (0: as fast as it goes)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as link:
        link.bind((interface, 0))
        link.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        vectors, messages = _messages(frames)
        batch = max(1, min(_MAX_BATCH, int(pps / 1000))) if pps else _MAX_BATCH
        start_s = time.monotonic()
        sent = refused = at = 0
        while (elapsed_s := time.monotonic() - start_s) < seconds:
            if pps and sent > elapsed_s * pps:
                time.sleep(sent / pps - elapsed_s)
                continue
            count = min(batch, len(frames) - at)
            taken = libc.sendmmsg(link.fileno(), ctypes.c_void_p(messages[at:].ctypes.data), count, 0)
            if taken <= 0:
                refused += 1
                continue
            sent += taken
            at = (at + taken) % len(frames)
        del vectors  # the messages point into it
        return Sent(sent, refused, time.monotonic() - start_s)


def _messages(frames: Frames) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """struct iovec and struct mmsghdr arrays, one entry a frame."""
    index = np.arange(len(frames), dtype=np.uint64)
    vectors = np.zeros((len(frames), 2), np.uint64)
    vectors[:, 0] = frames.ctypes.data + index * frames.shape[1]
    vectors[:, 1] = frames.shape[1]
    messages = np.zeros((len(frames), _MMSGHDR_WORDS), np.uint64)
    messages[:, _NAME_WORDS] = vectors.ctypes.data + index * vectors.itemsize * 2
    messages[:, _NAME_WORDS + 1] = 1
    return vectors, messages


def _big_endian_16(values: npt.NDArray[np.int64]) -> Frames:
    return values.astype(">u2").view(np.uint8).reshape(-1, 2)


def _checksums(rows: Frames) -> Frames:
    """The internet checksum of each row (RFC 1071), as two bytes a row."""
    total = np.ascontiguousarray(rows).view(">u2").sum(axis=1, dtype=np.int64)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return _big_endian_16(~total & 0xFFFF)


def main() -> None:
    """Command line of the generator process."""
    parser = argparse.ArgumentParser(description="send SYNs from many sources, for a bounded time")
    parser.add_argument("--interface", required=True)
    parser.add_argument("--to", required=True, help="Ethernet address of the next hop")
    parser.add_argument("--target", required=True, help="IPv4 address of the service")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--pps", type=float, default=0.0, help="0: as fast as the link takes them")
    parser.add_argument("--pool", type=int, default=1 << 18)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as link:
        link.bind((options.interface, 0))
        source_mac: bytes = link.getsockname()[4]
    frames = build_pool(
        options.pool, source_mac, bytes.fromhex(options.to.replace(":", "")), options.target, options.port, options.seed
    )
    print("ready", flush=True)
    json.dump(asdict(send(options.interface, frames, options.seconds, options.pps)), sys.stdout)


if __name__ == "__main__":
    main()
