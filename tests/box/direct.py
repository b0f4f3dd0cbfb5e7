"""A connection that goes past the box: a client and a server that take each other's packets as they are.

Owns Direct. Called by the tests of `protect: auto`. Must not know how a box decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from box.box import ANSWER, FULL
from box.wire import MASK, V4, Option, Path

if TYPE_CHECKING:
    from box.box import Result


class Between(Protocol):
    """A box, or two that must agree."""

    def outside(self, frame: bytes) -> Result:
        """A frame from the client's side."""

    def inside(self, frame: bytes) -> Result:
        """A frame from the server's side."""


class Direct:
    """One connection: each step is a packet, and returns what the box made of it."""

    def __init__(self, box: Between, path: Path = V4, answer: list[Option] = ANSWER) -> None:
        self.box, self.path, self.answer = box, path, answer
        self.c_isn, self.s_isn = 0xFFFFFFF0, 0x7FFFFFF8

    def syn(self) -> str:
        frame = self.path.from_client(flags="S", seq=self.c_isn, window=64240, options=FULL)
        return self.box.outside(frame).verdict

    def synack(self, **fields: object) -> str:
        values = {"flags": "SA", "seq": self.s_isn, "ack": (self.c_isn + 1) & MASK, "options": self.answer, **fields}
        return self.box.inside(self.path.from_server(**values)).verdict  # type: ignore[arg-type]  # as Talk has them

    def client(self, data: bytes = b"", **fields: object) -> str:
        values = {"flags": "A", "seq": (self.c_isn + 1) & MASK, "ack": (self.s_isn + 1) & MASK, **fields}
        return self.box.outside(self.path.from_client(data=data, **values)).verdict  # type: ignore[arg-type]

    def server(self, data: bytes = b"", **fields: object) -> str:
        values = {"flags": "A", "seq": (self.s_isn + 1) & MASK, "ack": (self.c_isn + 1) & MASK, **fields}
        return self.box.inside(self.path.from_server(data=data, **values)).verdict  # type: ignore[arg-type]

    def open(self) -> None:
        assert (self.syn(), self.synack(), self.client()) == ("pass",) * 3
