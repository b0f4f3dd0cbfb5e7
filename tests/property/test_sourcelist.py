"""Prefixes of sources: the spans made of them say for every address what its longest prefix says."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cext.sourcelist import Span, longest_decides

BITS = 16  # few, so that prefixes meet


@st.composite
def prefixes(draw: st.DrawFn) -> list[Span]:
    lists = draw(st.dictionaries(st.tuples(st.integers(0, BITS), st.integers(0, (1 << BITS) - 1)), st.booleans()))
    found: dict[tuple[int, int], bool] = {}
    for (length, address), blocked in lists.items():
        size = 1 << (BITS - length)
        first = address // size * size
        found[(first, first + size - 1)] = blocked
    return [(first, last, blocked) for (first, last), blocked in found.items()]


def longest(lists: list[Span], address: int) -> bool | None:
    around = [span for span in lists if span[0] <= address <= span[1]]
    return min(around, key=lambda span: span[1] - span[0])[2] if around else None


@given(prefixes(), st.data())
def test_longest_prefix_decides(lists: list[Span], data: st.DataObject) -> None:
    spans = longest_decides(lists)
    assert all(first <= last for first, last, _ in spans)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(spans))
    edges = [edge + step for span in lists for edge in span[:2] for step in (-1, 0, 1)]
    for address in data.draw(st.lists(st.sampled_from(edges or [0]) | st.integers(0, (1 << BITS) - 1), max_size=20)):
        found = [blocked for first, last, blocked in spans if first <= address <= last]
        expected = longest(lists, address)
        assert found == ([] if expected is None else [expected])


@given(prefixes())
def test_neighbours_that_say_the_same_are_one(lists: list[Span]) -> None:
    spans = longest_decides(lists)
    assert not any(one[1] + 1 == other[0] and one[2] == other[2] for one, other in itertools.pairwise(spans))
    assert len(spans) <= 2 * len(lists) + 1
