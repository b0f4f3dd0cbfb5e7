"""The reference's parts against the data plane's: SipHash, cookies and option tables, by themselves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from reference import cookie
from reference.siphash import siphash

from cext import wire


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=wire.SIPHASH_MAX_BYTES))
def test_siphash(key: bytes, data: bytes) -> None:
    assert siphash(key, data) == wire.siphash(key, data)


def test_option_tables() -> None:
    assert cookie.MSS_TABLE == wire.COOKIE_MSS
    assert cookie.WSCALE_TABLE == wire.COOKIE_WSCALE
    assert cookie.EPOCH_S == wire.EPOCH_S


def test_first_reference_vectors() -> None:
    """Of the 64 in the SipHash authors' vectors.h, which the data plane is tested with in full."""
    key = bytes(range(16))
    assert siphash(key, b"").to_bytes(8, "little").hex() == "310e0edd47db6f72"
    assert siphash(key, b"\x00").to_bytes(8, "little").hex() == "fd67dc93c539f874"
