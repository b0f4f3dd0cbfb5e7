"""Prefixes of sources, blocked or allowed, as the spans of core/lists.h.

Owns what "the longest prefix decides" means. Called by: the appliance, tests. Must not know: expiry, who made an entry.
"""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int, bool]  # first and last address, 128 bits, IPv4 mapped; True: blocked, False: allowed


def longest_decides(prefixes: Iterable[Span]) -> list[Span]:
    """Spans that do not overlap, ascending. Of two prefixes one contains the other, or they are apart."""
    spans: list[Span] = []
    around: list[Span] = []  # the prefixes that contain the place at which we are, the longest one last
    at = 0

    def fill(last: int) -> None:
        """Up to `last` the longest prefix around decides."""
        nonlocal at
        if around and at <= last:
            if spans and spans[-1][1] + 1 == at and spans[-1][2] == around[-1][2]:
                spans[-1] = (spans[-1][0], last, around[-1][2])
            else:
                spans.append((at, last, around[-1][2]))
        at = max(at, last + 1)

    for prefix in sorted(prefixes, key=lambda span: (span[0], -span[1])):
        while around and around[-1][1] < prefix[0]:
            fill(around[-1][1])
            around.pop()
        fill(prefix[0] - 1)
        around.append(prefix)
    while around:
        fill(around[-1][1])
        around.pop()
    return spans
