"""The one error of the benchmark: something the person who runs it has to know.

Raised anywhere below `bench`, printed in `bench.__main__` as message and hint, never a traceback.
"""

from __future__ import annotations


class BenchError(Exception):
    """A measurement cannot be made: `message` says why, `hint` what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
