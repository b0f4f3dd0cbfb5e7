"""What is known of netfilter queues: the kernel's counters, the worker's, and the messages between them.

Owns: these types, and the format of one file of /proc. Called by: nfqueue, netlink, the status. Must not know: sockets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NotRequired, TypedDict

PROC_PATH = "/proc/net/netfilter/nfnetlink_queue"
_COLUMNS = 8


class KernelQueue(TypedDict):
    """One line of the file; packets unless said otherwise."""

    num: int
    portid: int  # netlink port of the reader, mostly its pid
    waiting: int  # queued and not answered
    dropped_queue_full: int  # more than the queue's length were waiting
    dropped_user: int  # the reader's receive buffer was full
    last_id: int


class QueueStats(TypedDict):
    """A reader's counters of one queue since it was made, mostly packets; None where the kernel does not tell.

    carries: SYNs have a queue of their own. Errors are counted by errno name.
    """

    num: int
    carries: Literal["connections", "syns"]
    received: int
    batches: int
    verdict_drop: int
    verdict_pass: int
    verdict_rewrite: int
    malformed: int
    truncated: int
    unknown_interface: int
    receive_errors: dict[str, int]
    verdict_errors: dict[str, int]
    waiting: int | None
    dropped_queue_full: int | None
    dropped_user: int | None


class WorkerStats(TypedDict):
    """One worker: what it sent by way (outside, inside, ipv4, ipv6), what it could not by way and errno, its queues."""

    running: bool
    cpu: int | None
    sent: dict[str, int]
    send_errors: dict[str, int]
    queues: tuple[QueueStats, QueueStats]


class Message(TypedDict):
    """One netlink message. Of "malformed" only the id is known, if that; of "error" only the errno."""

    kind: Literal["packet", "error", "other", "malformed"]
    error: NotRequired[int]
    id: NotRequired[int | None]
    proto: NotRequired[int]
    family: NotRequired[int]
    hook: NotRequired[int]
    indev: NotRequired[int]
    physindev: NotRequired[int]
    skb_info: NotRequired[int]
    cap_len: NotRequired[int]
    payload: NotRequired[bytes]
    l2: NotRequired[bytes | None]
    source: NotRequired[bytes | None]
    vlan_tci: NotRequired[int]
    vlan_proto: NotRequired[int]


def kernel_queues(path: str = PROC_PATH) -> dict[int, KernelQueue] | None:
    """Queue number -> counters. None where the file may not be read: it belongs to root, or the kernel has no queues.

    Source: net/netfilter/nfnetlink_queue.c, seq_show: number, port, waiting, copy mode, copy range, dropped for a full
    queue, dropped for a full buffer, last id.
    """
    try:
        text = Path(path).read_text(encoding="ascii")
    except (PermissionError, FileNotFoundError):
        return None
    queues = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < _COLUMNS:
            continue
        num, portid, waiting, _, _, queue_full, user, last_id = (int(word) for word in words[:_COLUMNS])
        queues[num] = KernelQueue(
            num=num,
            portid=portid,
            waiting=waiting,
            dropped_queue_full=queue_full,
            dropped_user=user,
            last_id=last_id,
        )
    return queues
