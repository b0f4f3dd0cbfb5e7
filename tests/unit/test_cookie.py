"""The SYN cookie: tables, MAC, epochs, clocks that jump, and what a forger can hit."""

from __future__ import annotations

import itertools

import pytest

from cext import wire
from cext.parsed import CookieBits

SECRET = bytes(range(100, 132))
CLIENT4, SERVER4 = bytes([198, 18, 0, 1]), bytes([198, 19, 0, 1])
CLIENT6 = bytes.fromhex("20010db8001800000000000000000001")
SERVER6 = bytes.fromhex("20010db8001900000000000000000001")
ENDS = {4: (CLIENT4, SERVER4), 6: (CLIENT6, SERVER6)}
ISN = 0x12345678
BITS = CookieBits(1460, 7, True)
EPOCH_MS = wire.EPOCH_S * 1000
SCALES = (None, *range(15))


def make(keys: wire.CookieKeys, family: int = 4, bits: CookieBits = BITS) -> int:
    return keys.make(*ENDS[family], 4000, 80, ISN, bits)


def check(keys: wire.CookieKeys, cookie: int, family: int = 4) -> str:
    return keys.check(*ENDS[family], 4000, 80, ISN, cookie)[0]


def test_tables_are_sorted_and_begin_with_what_every_peer_takes() -> None:
    for family in (4, 6):
        table = wire.COOKIE_MSS[family]
        assert list(table) == sorted(set(table))
        assert len(table) == 8
        assert table[1] == 536
    scales = [scale for scale in wire.COOKIE_WSCALE if scale is not None]
    assert wire.COOKIE_WSCALE[0] is None
    assert scales == sorted(set(scales))
    assert scales[0] == 0
    assert len(wire.COOKIE_WSCALE) == 8


@pytest.mark.parametrize("family", [4, 6])
def test_every_table_entry_survives_exactly(family: int) -> None:
    for mss, wscale, sack in itertools.product(wire.COOKIE_MSS[family], wire.COOKIE_WSCALE, (False, True)):
        bits = CookieBits(mss, wscale, sack)
        assert wire.cookie_decode(family, wire.cookie_encode(family, bits, 0)) == bits


@pytest.mark.parametrize("family", [4, 6])
def test_mss_is_rounded_down_to_the_nearest_entry(family: int) -> None:
    table = wire.COOKIE_MSS[family]
    for mss in range(1, 65536):
        expected = max((entry for entry in table if entry <= mss), default=table[0])
        low = wire.cookie_encode(family, CookieBits(mss, None, False), 0)
        assert wire.cookie_decode(family, low).mss == expected


@pytest.mark.parametrize("wscale", SCALES)
def test_window_scale_is_rounded_down_to_the_nearest_entry(wscale: int | None) -> None:
    table = [entry for entry in wire.COOKIE_WSCALE if entry is not None]
    expected = None if wscale is None else max(entry for entry in table if entry <= wscale)
    low = wire.cookie_encode(4, CookieBits(1460, wscale, False), 0)
    assert wire.cookie_decode(4, low).wscale == expected


@pytest.mark.parametrize("epoch", [0, 1, 2, 2**32 - 1])
def test_low_bit_is_the_parity_of_the_epoch(epoch: int) -> None:
    assert wire.cookie_encode(4, BITS, epoch) & 1 == epoch & 1
    assert make(wire.CookieKeys(SECRET, epoch, 0)) & 1 == epoch & 1


@pytest.mark.parametrize("family", [4, 6])
def test_the_cookie_is_the_documented_function(family: int) -> None:
    """The MAC from the description in cookie.h, with SipHash and the byte order written out here."""
    epoch = 1000
    low = wire.cookie_encode(family, BITS, epoch)
    src, dst = ENDS[family]

    def word(value: int, size: int = 4) -> bytes:
        return value.to_bytes(size, "big")

    label = b"lvk\0" + word(epoch)
    key = b"".join(wire.siphash(SECRET[at : at + 16], label).to_bytes(8, "little") for at in (0, 16))
    message = src + dst + word(4000, 2) + word(80, 2) + word(ISN) + bytes([low, 0, 0, 0]) + word(epoch)
    expected = wire.siphash(key, message) >> 40 << 8 | low
    assert make(wire.CookieKeys(SECRET, epoch, 0), family) == expected


@pytest.mark.parametrize("family", [4, 6])
def test_a_cookie_is_accepted_with_its_options(family: int) -> None:
    keys = wire.CookieKeys(SECRET, 1000, 0)
    cookie = make(keys, family)
    rounded = wire.cookie_decode(family, cookie & 0xFF)
    assert keys.check(*ENDS[family], 4000, 80, ISN, cookie) == ("cookie_accepted", rounded)


@pytest.mark.parametrize("family", [4, 6])
def test_a_cookie_is_bound_to_everything_it_covers(family: int) -> None:
    keys = wire.CookieKeys(SECRET, 1000, 0)
    cookie = make(keys, family)
    src, dst = ENDS[family]
    for at, bit in itertools.product(range(len(src)), range(8)):
        other = bytes([*src[:at], src[at] ^ 1 << bit, *src[at + 1 :]])
        assert keys.check(other, dst, 4000, 80, ISN, cookie) == ("cookie_invalid", None)
        other = bytes([*dst[:at], dst[at] ^ 1 << bit, *dst[at + 1 :]])
        assert keys.check(src, other, 4000, 80, ISN, cookie) == ("cookie_invalid", None)
    for bit in range(16):
        assert keys.check(src, dst, 4000 ^ 1 << bit, 80, ISN, cookie) == ("cookie_invalid", None)
        assert keys.check(src, dst, 4000, 80 ^ 1 << bit, ISN, cookie) == ("cookie_invalid", None)
    for bit in range(32):
        assert keys.check(src, dst, 4000, 80, ISN ^ 1 << bit, cookie) == ("cookie_invalid", None)
        assert keys.check(src, dst, 4000, 80, ISN, cookie ^ 1 << bit) == ("cookie_invalid", None)
    assert keys.check(dst, src, 80, 4000, ISN, cookie) == ("cookie_invalid", None)


@pytest.mark.parametrize("low", [0x00, 0xDB, 0xFF])
def test_of_all_macs_exactly_one_is_accepted(low: int) -> None:
    """So a blind guess is right once in 2^24, and a million forged ACKs a second bring 0.06 flows a second."""
    keys = wire.CookieKeys(SECRET, 1000, 0)
    assert keys.macs_accepted(CLIENT4, SERVER4, 4000, 80, ISN, low) == 1
    assert 1e6 / 2**24 < 0.1


def test_random_guesses_over_many_connections() -> None:
    """As above, but as a flood would do it: other ports and numbers in each packet. The numbers are always the same."""
    keys = wire.CookieKeys(SECRET, 1000, 0)
    state, accepted = 1, 0
    for _ in range(200_000):
        state = (state * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
        reason, _ = keys.check(
            CLIENT4, SERVER4, 1024 + (state >> 20) % 60000, 80, state >> 32, (state >> 13) & 0xFFFFFFFF
        )
        accepted += reason == "cookie_accepted"
    assert accepted == 0


def test_the_mac_looks_random() -> None:
    """Each bit of the MAC is set in about half of the cookies: within five standard deviations."""
    keys = wire.CookieKeys(SECRET, 1000, 0)
    count = 20_000
    cookies = [keys.make(CLIENT4, SERVER4, 1024 + i, 80, ISN, BITS) for i in range(count)]
    for bit in range(8, 32):
        ones = sum(cookie >> bit & 1 for cookie in cookies)
        assert abs(ones - count / 2) < 5 * (count / 4) ** 0.5


def test_two_boxes_with_one_secret_agree_without_talking() -> None:
    one, other = wire.CookieKeys(SECRET, 1000, 0), wire.CookieKeys(SECRET, 1000, 77)
    assert check(other, make(one)) == "cookie_accepted"
    stranger = wire.CookieKeys(bytes(32), 1000, 0)
    assert check(stranger, make(one)) == "cookie_invalid"


@pytest.mark.parametrize("half", [slice(0, 16), slice(16, 32)])
def test_both_halves_of_the_secret_count(half: slice) -> None:
    secret = bytearray(SECRET)
    secret[half] = bytes(16)
    assert check(wire.CookieKeys(bytes(secret), 1000, 0), make(wire.CookieKeys(SECRET, 1000, 0))) == "cookie_invalid"


def run(keys: wire.CookieKeys, epoch: int, start_ms: int, stop_ms: int) -> None:
    """Tick once a second with a clock that shows `epoch` throughout."""
    for now_ms in range(start_ms, stop_ms, 1000):
        keys.tick(epoch, now_ms & 0xFFFFFFFF)


@pytest.mark.parametrize("start_ms", [0, 2**32 - EPOCH_MS])
def test_a_cookie_lives_for_its_epoch_and_the_next(start_ms: int) -> None:
    keys = wire.CookieKeys(SECRET, 1000, start_ms)
    cookie = make(keys)
    run(keys, 1000, start_ms, start_ms + EPOCH_MS)
    assert check(keys, cookie) == "cookie_accepted"
    run(keys, 1001, start_ms + EPOCH_MS, start_ms + 2 * EPOCH_MS)
    assert check(keys, cookie) == "cookie_accepted"
    run(keys, 1002, start_ms + 2 * EPOCH_MS, start_ms + 2 * EPOCH_MS + 1000)
    make(keys)
    assert check(keys, cookie) == "cookie_invalid"


def test_the_previous_key_ends_even_if_the_epoch_does_not() -> None:
    """A realtime clock that stands still must not keep a key alive: validity is measured by the monotonic clock."""
    keys = wire.CookieKeys(SECRET, 1000, 0)
    cookie = make(keys)
    run(keys, 1001, 1000, 1000 + EPOCH_MS + 1000)
    assert check(keys, cookie) == "cookie_accepted"
    run(keys, 1001, 1000 + EPOCH_MS + 1000, 1000 + EPOCH_MS + 4000)
    assert check(keys, cookie) == "cookie_expired"


def test_no_ack_is_right_while_no_cookie_is_out() -> None:
    keys = wire.CookieKeys(SECRET, 1000, 0)
    keys.tick(1001, 0)
    keys.tick(1002, 0)
    other = wire.CookieKeys(SECRET, 1001, 0)
    assert check(keys, make(other)) == "ack_no_cookie_out"
    make(keys)
    assert check(keys, make(other)) == "ack_no_cookie_out"
    assert [issued for _, _, issued in keys.slots] == [1, 0]


def test_cookies_of_a_predecessor_are_accepted_after_a_restart() -> None:
    old = wire.CookieKeys(SECRET, 999, 0)
    before = make(old)
    old.tick(1000, 0)
    now = make(old)
    keys = wire.CookieKeys(SECRET, 1000, 5000)
    assert check(keys, before) == check(keys, now) == "cookie_accepted"


@pytest.mark.parametrize("jump", [1, 3, 1001, -1, -3, -999])
def test_an_odd_jump_of_the_clock_keeps_handshakes_in_flight(jump: int) -> None:
    keys = wire.CookieKeys(SECRET, 1000, 0)
    cookie = make(keys)
    keys.tick(1000 + jump, 1000)
    assert check(keys, cookie) == "cookie_accepted"
    assert check(keys, make(keys)) == "cookie_accepted"


@pytest.mark.parametrize("jump", [2, 4, 1000, -2, -4, -1000])
def test_an_even_jump_costs_the_handshakes_in_flight_and_no_more(jump: int) -> None:
    """LIMIT of one parity bit. Half-open entries are looked at: a cookie counts as being out."""
    keys = wire.CookieKeys(SECRET, 1000, 0)
    cookie = make(keys)
    keys.tick(1000 + jump, 1000)
    assert check(keys, cookie) == "cookie_invalid"
    fresh = make(keys)
    assert check(keys, cookie) == "cookie_invalid"
    assert check(keys, fresh) == "cookie_accepted"


def test_a_clock_that_steps_back_and_forth_keeps_both_epochs() -> None:
    """NTP may take a second back just after an epoch began; cookies of both sides of the step stay good."""
    keys = wire.CookieKeys(SECRET, 1000, 0)
    keys.tick(1001, 0)
    keys.tick(1002, 0)
    cookies = [make(keys)]
    keys.tick(1003, 1000)
    cookies.append(make(keys))
    for epoch, now_ms in ((1002, 2000), (1003, 3000), (1002, 4000)):
        keys.tick(epoch, now_ms)
        assert [check(keys, cookie) for cookie in cookies] == ["cookie_accepted"] * 2


def test_the_epoch_wraps() -> None:
    keys = wire.CookieKeys(SECRET, 2**32 - 1, 0)
    cookie = make(keys)
    keys.tick(0, EPOCH_MS)
    assert check(keys, cookie) == "cookie_accepted"
    assert [epoch for epoch, _, _ in keys.slots] == [0, 2**32 - 1]


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33)])
def test_a_secret_has_its_length(secret: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        wire.CookieKeys(secret, 0, 0)
