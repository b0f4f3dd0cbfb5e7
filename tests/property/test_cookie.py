"""Cookies: never more than was offered, always accepted while their key lives, and nothing else is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from property import strategies as s

from cext import wire
from cext.parsed import CookieBits

EPOCH_MS = wire.EPOCH_S * 1000
secret = st.binary(min_size=32, max_size=32)
connection = st.tuples(s.addresses, s.u16, s.u16, s.edge32)
Connection = tuple[tuple[bytes, bytes], int, int, int]


def flat(four: Connection) -> tuple[bytes, bytes, int, int, int]:
    return (*four[0], *four[1:])


@given(family=s.family, bits=s.cookie_bits, epoch=s.u32)
def test_rounding_is_down_and_settles(family: int, bits: CookieBits, epoch: int) -> None:
    low = wire.cookie_encode(family, bits, epoch)
    back = wire.cookie_decode(family, low)
    assert back.mss <= max(bits.mss, wire.COOKIE_MSS[family][0])
    assert back.sack_ok == bits.sack_ok
    assert (back.wscale is None) == (bits.wscale is None)
    if back.wscale is not None and bits.wscale is not None:
        assert back.wscale <= bits.wscale
    assert low & 1 == epoch & 1
    assert wire.cookie_encode(family, back, epoch) == low


@given(family=s.family, one=s.cookie_bits, other=s.cookie_bits)
def test_rounding_keeps_order(family: int, one: CookieBits, other: CookieBits) -> None:
    first = wire.cookie_decode(family, wire.cookie_encode(family, one, 0))
    second = wire.cookie_decode(family, wire.cookie_encode(family, other, 0))
    if one.mss <= other.mss:
        assert first.mss <= second.mss


@given(family=s.family, low=s.u8)
def test_every_low_byte_has_a_meaning(family: int, low: int) -> None:
    bits = wire.cookie_decode(family, low)
    assert wire.cookie_encode(family, bits, low) == low


@given(secret=secret, epoch=s.edge32, four=connection, bits=s.cookie_bits, now_ms=s.edge32)
def test_own_cookies_are_accepted_in_both_epochs(
    secret: bytes, epoch: int, four: Connection, bits: CookieBits, now_ms: int
) -> None:
    keys = wire.CookieKeys(secret, epoch, now_ms)
    cookie = keys.make(*flat(four), bits)
    rounded = wire.cookie_decode(4 if len(four[0][0]) == 4 else 6, cookie & 0xFF)
    assert keys.check(*flat(four), cookie) == ("cookie_accepted", rounded)
    keys.tick((epoch + 1) & 0xFFFFFFFF, (now_ms + EPOCH_MS) & 0xFFFFFFFF)
    assert keys.check(*flat(four), cookie) == ("cookie_accepted", rounded)


@given(secret=secret, epoch=s.edge32, four=connection, bits=s.cookie_bits, other=s.u32)
def test_another_number_is_refused(secret: bytes, epoch: int, four: Connection, bits: CookieBits, other: int) -> None:
    """Except for the few that are cookies themselves: same connection, other options or the other key."""
    keys = wire.CookieKeys(secret, epoch, 0)
    cookie = keys.make(*flat(four), bits)
    if other != cookie:
        reason, found = keys.check(*flat(four), other)
        family = 4 if len(four[0][0]) == 4 else 6
        if reason == "cookie_accepted":
            assert found == wire.cookie_decode(family, other & 0xFF)
            assert other & 0xFF != cookie & 0xFF
        else:
            assert found is None


@given(
    secret=secret,
    epoch=s.edge32,
    steps=st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 40000)), max_size=20),
    four=connection,
)
def test_under_any_clock_the_current_key_works(
    secret: bytes, epoch: int, steps: list[tuple[int, int]], four: Connection
) -> None:
    keys = wire.CookieKeys(secret, epoch, 0)
    now_ms = 0
    for jump, wait_ms in steps:
        epoch = (epoch + jump) & 0xFFFFFFFF
        now_ms = (now_ms + wait_ms) & 0xFFFFFFFF
        keys.tick(epoch, now_ms)
        cookie = keys.make(*flat(four), CookieBits(1460, 7, True))
        assert keys.check(*flat(four), cookie)[0] == "cookie_accepted"
        assert [slot[0] & 1 for slot in keys.slots] == [0, 1]
        assert (epoch, True) in [slot[:2] for slot in keys.slots]


@given(four=connection, bits=s.cookie_bits, wait_ms=st.integers(2 * EPOCH_MS + 2000, 10 * EPOCH_MS))
def test_no_cookie_outlives_two_epochs(four: Connection, bits: CookieBits, wait_ms: int) -> None:
    keys = wire.CookieKeys(bytes(32), 1000, 0)
    cookie = keys.make(*flat(four), bits)
    for now_ms in range(0, wait_ms, 1000):
        keys.tick(1000 + now_ms // EPOCH_MS, now_ms)
    assert keys.check(*flat(four), cookie)[0] in ("cookie_expired", "ack_no_cookie_out", "cookie_invalid")
