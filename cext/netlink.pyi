"""The netlink socket of one netfilter queue (nfqueue.pyx uses it from C), and its messages for tests and diagnosis."""

from collections.abc import Callable

from cext.queues import Message

class QueueSocket:
    """A bound queue. The worker handles packets and verdicts from C; serve_once is the same for tests."""

    def open(self, queue: int, length: int, fail_open: bool, gso: bool = False) -> None:
        """Open the socket and bind the queue. Raises cext.errors.EngineError."""
    def close(self) -> None:
        """Close the socket; the kernel unbinds the queue and drops what is in it. Safe to call twice."""
    def serve_once(self, decide: Callable[[Message], bool | bytes]) -> int:
        """Receive one batch without waiting: True passes a packet, False drops it, bytes pass it with that payload.

        Returns the number of packets. RuntimeError when closed, ValueError for bytes that are too long.
        """
    def receive_error_counts(self) -> dict[str, int]:
        """Failed receive calls by errno name."""
    def verdict_error_counts(self) -> dict[str, int]:
        """Verdicts the kernel refused, and sends of verdicts that failed, by errno name."""

def read_messages(datagram: bytes) -> list[Message]:
    """What the worker sees of a datagram from the kernel. Never raises for its content."""

def encode_bind(queue: int, length: int, fail_open: bool, gso: bool = False) -> bytes:
    """NFQNL_MSG_CONFIG: bind, copy whole packets, queue length, fail-open or not, all other flags off."""

def encode_batch(queue: int, packet_id: int, verdict: int) -> bytes:
    """NFQNL_MSG_VERDICT_BATCH: one verdict (0 drop, 1 accept) for every queued packet up to packet_id."""

def encode_rewrite(queue: int, packet_id: int, payload: bytes) -> bytes:
    """NFQNL_MSG_VERDICT: accept packet_id with other bytes; padded to a multiple of 4. ValueError above 65531 bytes."""
