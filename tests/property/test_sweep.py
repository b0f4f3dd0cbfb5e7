"""Every function of cext.wire takes any value of its domain and answers; one that is not listed here fails.

The properties that say what the answers must be are in the other files of this folder.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property import strategies as s

from cext import parsed, wire

SECRET = bytes(range(32))
connection = st.tuples(s.addresses, s.u16, s.u16, s.u32)


def keys() -> wire.CookieKeys:
    return wire.CookieKeys(SECRET, 1000, 0)


# Name -> (arguments of its whole domain, the call). Hostile where bytes of a packet go in.
CALLS: dict[str, tuple[st.SearchStrategy[tuple[object, ...]], Callable[..., object]]] = {
    "parse": (st.tuples(st.binary(max_size=300), s.u16, st.lists(s.tag, max_size=2)), wire.parse),
    "checksums_ok": (st.tuples(st.binary(max_size=300), s.ethertype), wire.checksums_ok),
    "source_impossible": (s.addresses, wire.source_impossible),
    "before": (st.tuples(s.u32, s.u32), wire.before),
    "after": (st.tuples(s.u32, s.u32), wire.after),
    "within": (st.tuples(s.u32, s.u32, s.u32), wire.within),
    "siphash": (st.tuples(st.binary(min_size=16, max_size=16), st.binary(max_size=64)), wire.siphash),
    "checksum": (st.tuples(st.binary(max_size=300), st.integers(0, 0xFFFFF)), wire.checksum),
    "pseudo_sum": (
        st.tuples(s.addresses, s.u8, st.integers(0, 65535)),
        lambda ends, proto, length: wire.pseudo_sum(ends[0], ends[1], proto, length),
    ),
    "checksum_update16": (st.tuples(s.u16, st.lists(st.tuples(s.u16, s.u16))), wire.checksum_update16),
    "checksum_update32": (st.tuples(s.u16, st.lists(st.tuples(s.u32, s.u32, st.booleans()))), wire.checksum_update32),
    "read_options": (st.tuples(st.binary(max_size=40), st.booleans()), wire.read_options),
    "write_syn_options": (st.tuples(s.syn_options), wire.write_syn_options),
    "write_timestamp_option": (st.tuples(s.syn_options), wire.write_timestamp_option),
    "cookie_encode": (st.tuples(s.family, s.cookie_bits, s.u32), wire.cookie_encode),
    "cookie_decode": (st.tuples(s.family, s.u8), wire.cookie_decode),
    "rescale_window": (st.tuples(s.u16, s.wscale, s.wscale), wire.rescale_window),
    "translate": (st.tuples(s.segments(), st.booleans(), s.shift), wire.translate),
    "hide_ecn": (
        st.tuples(s.addresses, s.tcp),
        lambda ends, tcp: wire.hide_ecn(wire.write_segment(ends[0], ends[1], tcp)),
    ),
    "write_ether": (st.tuples(s.mac, s.mac, s.family, st.lists(s.tag, max_size=2)), wire.write_ether),
    "write_segment": (
        st.tuples(s.addresses, s.tcp, s.u8, s.segment_options, s.payload),
        lambda ends, tcp, ttl, options, payload: wire.write_segment(ends[0], ends[1], tcp, ttl, options, payload),
    ),
    "CookieKeys": (st.tuples(st.binary(min_size=32, max_size=32), s.u32, s.u32), wire.CookieKeys),
    "CookieKeys.tick": (st.tuples(s.u32, s.u32), lambda epoch, now_ms: keys().tick(epoch, now_ms)),
    "CookieKeys.slots": (st.tuples(s.u32), lambda epoch: wire.CookieKeys(SECRET, epoch, 0).slots),
    "CookieKeys.make": (
        st.tuples(connection, s.cookie_bits),
        lambda four, bits: keys().make(four[0][0], four[0][1], four[1], four[2], four[3], bits),
    ),
    "CookieKeys.check": (
        st.tuples(connection, s.u32),
        lambda four, cookie: keys().check(four[0][0], four[0][1], four[1], four[2], four[3], cookie),
    ),
    # One call is 2^24 checks: tests/unit/test_cookie.py makes a few.
    "CookieKeys.macs_accepted": (st.just(()), lambda: None),
}


def names() -> set[str]:
    """All functions, and all methods of classes, that wire offers."""
    found = set()
    for name, value in vars(wire).items():
        if name.startswith("_") or not callable(value) or value in vars(parsed).values():
            continue
        found.add(name)
        if inspect.isclass(value):
            found |= {f"{name}.{part}" for part in vars(value) if not part.startswith("_")}
    return found


def test_every_function_is_listed() -> None:
    assert len(CALLS) > 20
    assert set(CALLS) == names()


@pytest.mark.parametrize("name", sorted(CALLS))
@given(data=st.data())
def test_answers_for_any_value(name: str, data: st.DataObject) -> None:
    arguments, call = CALLS[name]
    call(*data.draw(arguments))
