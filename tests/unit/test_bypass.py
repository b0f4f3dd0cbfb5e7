"""Bypass: what a configuration becomes, and the flag that outlives the daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.bypass import NEVER, Flag, bypassed
from appliance.config import loads
from appliance.errors import OperatorError

TEXT = """
version: 1
outside: eth1
inside: eth2
bridge: br0
services:
  web: {addresses: [192.0.2.1], ports: [80]}
  auto: {addresses: [192.0.2.2], ports: [80], protect: auto}
  left: {addresses: [192.0.2.3], ports: [80], protect: "off"}
  trap: {addresses: [192.0.2.4], ports: [23], trap: 10m}
"""


def test_every_service_is_only_watched_and_no_flood_protects_it() -> None:
    services = bypassed(loads(TEXT.encode(), "levee.yaml")).services
    assert {name: one.protect for name, one in services.items()} == {
        "web": "auto",
        "auto": "auto",
        "left": "off",
        "trap": "off",
    }
    assert {services[name].attack.high_syns_per_s for name in ("web", "auto")} == {NEVER}
    assert services["trap"].trap is None


def test_nothing_else_changes() -> None:
    config = loads(TEXT.encode(), "levee.yaml")
    changed = bypassed(config)
    for name in type(config).model_fields:
        if name != "services":
            assert getattr(changed, name) == getattr(config, name)
    assert changed.services["web"].addresses == config.services["web"].addresses


def test_the_flag_outlives_the_daemon(tmp_path: Path) -> None:
    assert not Flag(tmp_path).up
    Flag(tmp_path).set(up=True)
    assert Flag(tmp_path).up
    Flag(tmp_path).set(up=False)
    assert not Flag(tmp_path).up


def test_a_flag_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    flag = Flag(tmp_path / "missing")
    with pytest.raises(OperatorError, match="missing/bypass"):
        flag.set(up=True)
    assert not flag.up
