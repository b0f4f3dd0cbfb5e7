"""The kernel's view of the netfilter queues: who reads each, and what it had to drop.

Owns: the format of one file of /proc. Called by: nfqueue, the status. Must not know: who reads a queue in user space.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

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
