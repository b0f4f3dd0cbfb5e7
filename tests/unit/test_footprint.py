"""The file of what is to be undone: what is written is read, and a damaged file stops nobody."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from appliance import footprint
from appliance.footprint import Footprint


def test_round_trip(tmp_path: Path) -> None:
    made = Footprint().with_mounted(tmp_path).with_clsact(("eth1", "eth0")).with_offloads("eth0", ("rx-lro",))
    footprint.save(tmp_path, made)
    assert footprint.load(tmp_path) == Footprint((str(tmp_path),), ("eth0", "eth1"), {"eth0": ("rx-lro",)})
    footprint.forget(tmp_path)
    assert footprint.load(tmp_path) == Footprint()


def test_what_is_noted_twice_stands_there_once() -> None:
    """A restart notes what it finds; what an earlier start changed must not be lost by that."""
    once = Footprint().with_clsact(("eth0",)).with_offloads("eth0", ("rx-lro",))
    assert once.with_clsact(("eth0",)).with_offloads("eth0", ("rx-lro",)) == once
    assert once.with_offloads("eth0", ("rx-gro-hw",)).offloads == {"eth0": ("rx-gro-hw", "rx-lro")}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"mounted": 1}', '{"clsact": [1]}', '{"offloads": []}', '{"offloads": {"eth0": "rx-lro"}}']
)
def test_a_damaged_file_is_put_aside_and_said(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / footprint.NAME).write_text(text)
    with caplog.at_level(logging.WARNING):
        assert footprint.load(tmp_path) == Footprint()
    assert "footprint.unreadable" in caplog.text
    assert (tmp_path / "footprint.unreadable").read_text() == text
