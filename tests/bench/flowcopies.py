"""A million open connections: copies of one record of the flow table in the kernel, each for another client.

Owns where a client stands in struct lv_key (cext/core/flow.h). Called by the parts that need a full table. Must not
know what a record says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from bpf.libbpf import Map, pinned

_CLIENT_AT, _CPORT_AT = 12, 32  # the IPv4 address within the mapped one; in host byte order
_CLIENTS_BASE, _CLIENTS_BITS, _PORT_FIRST = 0xC6128000, 15, 1024  # as in frames.bpf.c
_AT_ONCE = 50_000


@contextmanager
def pinned_map(pin: Path) -> Iterator[Map]:
    """The map that is pinned there."""
    fd = pinned(pin)
    try:
        yield Map(fd)
    finally:
        os.close(fd)


def fill(flows: Map, key: bytes, record: bytes, first: int, count: int) -> None:
    """Copies of a flow for the clients that a Plan of `count` clients draws, from number `first` on."""
    for start in range(first, count, _AT_ONCE):
        numbers = np.arange(start, min(start + _AT_ONCE, count), dtype=np.uint32)
        keys = np.tile(np.frombuffer(key, dtype=np.uint8), (len(numbers), 1))
        addresses = _CLIENTS_BASE + (numbers & ((1 << _CLIENTS_BITS) - 1))
        keys[:, _CLIENT_AT : _CLIENT_AT + 4] = addresses.astype(">u4").view(np.uint8).reshape(-1, 4)
        ports = _PORT_FIRST + (numbers >> _CLIENTS_BITS)
        keys[:, _CPORT_AT : _CPORT_AT + 2] = ports.astype("=u2").view(np.uint8).reshape(-1, 2)
        flows.update_many(keys.tobytes(), record * len(numbers))
