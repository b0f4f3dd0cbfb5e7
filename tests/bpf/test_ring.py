"""The ring to user space: what fits into it, what is too large, and what happens when nobody reads it."""

from __future__ import annotations

import json
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath

import pytest
from box.box import CLIENT_ISN, SECRET
from box.wire import MASK, PATHS, Path, segment

from bpf.cases import SERVICES
from bpf.kernelbox import KernelBox
from bpf.libbpf import pin_of
from cext.dataplane import DROP_REASONS, Dataplane, DataplaneConfig

RING_BYTES = 4 << 20  # common.h
SLOT_BYTES = 2048 + 8  # maps.h, and the head that the kernel gives each record (kernel/bpf/ringbuf.c)

EPOCH_S = 32  # cookie.h
SLOT = 1  # counters of the first service; 0 is for what belongs to none


@dataclass
class Ring:
    """Programs at work with valid keys, and nobody who reads what they hand over: the daemon has ended."""

    box: KernelBox
    pins: FilePath
    keys_s: int  # Unix time of a key that is valid for good: nobody changes the keys any more

    def drops(self, reason: str) -> int:
        """As the programs counted, on all processors."""
        slot = struct.pack("=I", SLOT)
        pin = str(pin_of("lv_counts", self.pins))
        argv = ["bpftool", "-j", "map", "lookup", "pinned", pin, "key", *map(str, slot)]
        found = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
        at = 8 * list(DROP_REASONS).index(reason)
        values = (bytes(int(one, 16) for one in cpu["value"]) for cpu in found["values"])
        return sum(struct.unpack_from("=Q", value, at)[0] for value in values)


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    config = DataplaneConfig(secret=SECRET, flows=64, half_open=4)
    scratch = tmp_path_factory.mktemp("ring")
    with KernelBox(scratch, config, SERVICES) as one:
        one.engine.stop(detach=False)
        # The epoch before: whether or not the thread has seen the present one begin, that key is one of its two.
        yield Ring(one, scratch / "bpf", int(time.time()) - EPOCH_S)


def proof(ring: Ring, path: Path, data: bytes = b"") -> bytes:
    """The ACK of a client to which a box with this secret has given a cookie."""
    syn = path.from_client(flags="S", seq=CLIENT_ISN, options=[("MSS", 1400)])
    with Dataplane(DataplaneConfig(secret=SECRET, flows=64, half_open=64)) as other:
        other.set_services(SERVICES)
        _, _, ((_, _, frame),) = other.packet("outside", syn, 1, realtime_s=ring.keys_s)
    isn = segment("outside", "l2", frame).seq
    flags = "PA" if data else "A"
    return path.from_client(flags=flags, seq=(CLIENT_ISN + 1) & MASK, ack=(isn + 1) & MASK, data=data)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize(
    ("payload_bytes", "verdict"), [(1400, "handover"), (2100, "handover"), (8900, "handover"), (17000, "drop")]
)
def test_jumbo_frames(ring: Ring, path: Path, payload_bytes: int, verdict: str) -> None:
    """Frames of several buffers are handed over whole; what no slot takes has a reason of its own."""
    before = ring.drops("handover_size")
    assert ring.box.offer("outside", proof(ring, path, bytes(payload_bytes))).verdict == verdict
    assert ring.drops("handover_size") - before == (verdict == "drop")


def test_a_full_ring_drops_and_counts(ring: Ring) -> None:
    """The last test: the ring stays full."""
    frame = proof(ring, next(iter(PATHS.values())))
    handed = 0
    while ring.box.offer("outside", frame).verdict == "handover":
        handed += 1
    assert RING_BYTES // SLOT_BYTES // 2 < handed <= RING_BYTES // SLOT_BYTES
    assert ring.drops("handover_full") == 1
    assert ring.box.offer("outside", frame).verdict == "drop"
    assert ring.drops("handover_full") == 2
