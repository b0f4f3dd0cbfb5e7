"""What a valid configuration means, and the example configurations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from appliance import memory
from appliance.addresses import ALL_PORTS, AddressRange, PortRange, parse_addresses
from appliance.config import load, loads
from appliance.engine import dataplane_config, service_spec, service_specs
from appliance.errors import OperatorError
from appliance.models import Bpf, Config, Control, Cookie, Limits, Nfqueue, ServerOptions, Service, SourceLimits
from appliance.values import size_text
from appliance.yamldoc import parse, resolve
from cext.dataplane import Dataplane, DataplaneConfig

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
EXAMPLES = sorted(CONFIGS.glob("*.yaml"))
MINIMAL = """\
version: 1
mode: routed
outside: eth0
inside: eth1
services:
  web: {addresses: [192.0.2.1], ports: [80]}
"""


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_valid_and_the_data_plane_takes_it(path: Path) -> None:
    config = load(path)
    small = DataplaneConfig(secret=bytes(32), flows=1024, half_open=256, hold_total_bytes=1 << 20)
    with Dataplane(small) as dataplane:
        dataplane.set_services([service_spec(name, service) for name, service in config.services.items()])
        assert set(dataplane.counters()["services"]) == set(config.services)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_named_in_the_readme(path: Path) -> None:
    assert f"]({path.name})" in (CONFIGS / "README.md").read_text()


def keys_of(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_complete_example_has_every_key() -> None:
    text = (CONFIGS / "complete.yaml").read_text()
    commented = set(re.findall(r"^\s*# (\w+): ", text, re.MULTILINE))
    raw = parse(text).value
    assert isinstance(raw, dict)
    web = raw["services"]["web"]
    parts: list[tuple[type[BaseModel], Mapping[str, object]]] = [
        (Config, raw),
        (Service, web),
        (SourceLimits, web["per_source"]),
        (ServerOptions, web["server"]),
        (Limits, raw["limits"]),
        (Nfqueue, raw["nfqueue"]),
        (Bpf, raw["bpf"]),
        (Cookie, raw["cookie"]),
        (Control, {}),
    ]
    for model, values in parts:
        assert keys_of(model) - commented == set(values), model.__name__


def test_complete_example_shows_the_defaults() -> None:
    complete, minimal = load(CONFIGS / "complete.yaml"), loads(MINIMAL.encode(), "levee.yaml")
    assert complete.limits == minimal.limits
    assert complete.bpf.model_copy(update={"pin_dir": None}) == minimal.bpf
    assert complete.pin_dir == minimal.pin_dir
    assert complete.secret_file == minimal.secret_file
    assert (complete.runtime_dir, complete.state_dir) == (minimal.runtime_dir, minimal.state_dir)
    assert complete.nfqueue.model_copy(update={"queues": minimal.nfqueue.queues}) == minimal.nfqueue
    shown, default = complete.services["web"], minimal.services["web"]
    assert shown.model_copy(update={"addresses": default.addresses, "ports": default.ports}) == default


def test_configuration_is_frozen() -> None:
    config = loads(MINIMAL.encode(), "levee.yaml")
    with pytest.raises(ValidationError):
        config.mode = "bridge"  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.services["ssh"] = config.services["web"]  # type: ignore[index]


def test_missing_file_is_an_operator_error(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot be read: No such file or directory"):
        load(tmp_path / "levee.yaml")


def test_secret_follows_the_state_folder() -> None:
    config = loads(f"{MINIMAL}state_dir: /srv/levee\n".encode(), "levee.yaml")
    assert config.secret_file == Path("/srv/levee/secret")


@pytest.mark.parametrize(
    ("text", "first", "last", "shown"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("192.0.2.1/32", "192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("192.0.2.0/24", "192.0.2.0", "192.0.2.255", "192.0.2.0/24"),
        ("192.0.2.0-192.0.2.255", "192.0.2.0", "192.0.2.255", "192.0.2.0/24"),
        ("192.0.2.1-192.0.2.2", "192.0.2.1", "192.0.2.2", "192.0.2.1-192.0.2.2"),
        ("0.0.0.0/0", "0.0.0.0", "255.255.255.255", "0.0.0.0/0"),
        ("2001:DB8::1", "2001:db8::1", "2001:db8::1", "2001:db8::1"),
        ("2001:db8::/64", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8::/64"),
        ("2001:db8::1 - 2001:db8::f", "2001:db8::1", "2001:db8::f", "2001:db8::1-2001:db8::f"),
        ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"),
    ],
)
def test_addresses(text: str, first: str, last: str, shown: str) -> None:
    span = parse_addresses(text)
    assert span == AddressRange(span.family, int(ip_address(first)), int(ip_address(last)))
    assert str(span) == shown
    assert parse_addresses(shown) == span


def test_ports_are_merged() -> None:
    service = loads(MINIMAL.replace("[80]", '[443, 80, "81-90", 85-100]').encode(), "levee.yaml").services["web"]
    assert service.ports == (PortRange(80, 100), PortRange(443, 443))
    every = loads(MINIMAL.replace("[80]", "all").encode(), "levee.yaml").services["web"]
    assert every.ports == (ALL_PORTS,)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-12", -12),
        ("1.5", 1.5),
        # YAML 1.1 would read these as booleans, numbers, or a date.
        *((word, word) for word in ("yes", "no", "on", "off", "True", "FALSE", "y", "Null")),
        *((word, word) for word in ("010", "0x10", "0b1", "1_000", "1:30", "190:20:30", "2001-01-01", "1e3", "+.inf")),
        *((word, word) for word in ("00:11:22:33:44:55", "12:34:56:07:08:09", "=", "<<")),
    ],
)
def test_plain_scalars(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_quoted_scalars_are_text() -> None:
    assert parse("""{a: "80", b: 'true', c: ""}""").value == {"a": "80", "b": "true", "c": ""}


def test_places_of_keys_and_values() -> None:
    document = parse("a:\n  b: [x,\n      {c: y}]\n")
    assert document.value == {"a": {"b": ("x", {"c": "y"})}}
    keys = {path: (mark.line, mark.column) for path, mark in document.keys.items()}
    values = {path: (mark.line, mark.column) for path, mark in document.values.items()}
    assert keys == {("a",): (1, 1), ("a", "b"): (2, 3), ("a", "b", 1, "c"): (3, 8)}
    assert values[("a", "b", 0)] == (2, 7)
    assert values[("a", "b", 1, "c")] == (3, 11)


def test_service_as_the_data_plane_takes_it() -> None:
    text = MINIMAL.replace(
        "ports: [80]",
        "ports: [80, 90-99], window: zero, fragments: pass, protect: off, "
        "server: {mss: 536, wscale: none, sack: false}",
    ).replace("[192.0.2.1]", '[192.0.2.0/30, "2001:db8::1"]')
    spec = service_spec("web", loads(text.encode(), "levee.yaml").services["web"])
    mapped = (0xFFFF << 32) + 0xC0000200
    six = 0x20010DB8 << 96 | 1
    assert spec.addresses == ((mapped, mapped + 3), (six, six))
    assert spec.ports == ((80, 80), (90, 99))
    assert (spec.protect, spec.window_zero, spec.fragments_pass) == (False, True, True)
    assert (spec.mss4, spec.mss6, spec.wscale, spec.sack, spec.timestamps) == (536, 516, None, False, True)


def test_what_a_service_forwards_to_leads_back_to_it() -> None:
    text = MINIMAL.replace("ports: [80]", "ports: [80], forward_to: {port: 8080, address: 192.0.2.99}")
    config = loads(text.encode(), "levee.yaml")
    used, own = (0xFFFF << 32) + 0xC0000201, (0xFFFF << 32) + 0xC0000263
    there, back = service_specs(config)
    assert (there.addresses, there.ports, there.target) == (((used, used),), ((80, 80),), False)
    assert (there.forward_address, there.forward_port) == (own, 8080)
    assert (back.addresses, back.ports, back.target) == (((own, own),), ((8080, 8080),), True)
    assert (back.forward_address, back.forward_port, back.protect) == (used, 80, False)


def test_memory_is_computed_from_the_limits() -> None:
    small = loads(f"{MINIMAL}limits: {{flows: 1024}}\n".encode(), "levee.yaml")
    large = loads(f"{MINIMAL}limits: {{flows: 16777216}}\n".encode(), "levee.yaml")
    assert sum(memory.parts(large).values()) - sum(memory.parts(small).values()) > 100 * (16777216 - 1024)
    assert all(size_bytes > 0 for size_bytes in memory.parts(small).values())


def test_answers_to_clients_need_no_route_and_packets_to_servers_do() -> None:
    routed = dataplane_config(load(CONFIGS / "routed.yaml"), bytes(32))
    bridged = dataplane_config(load(CONFIGS / "bridge.yaml"), bytes(32))
    assert (routed.route_outside, routed.route_inside) == (False, True)
    assert (bridged.route_outside, bridged.route_inside) == (False, False)


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0B"), (1, "1B"), (1024, "1KiB"), (65536, "64KiB"), (1536, "1536B"), (1 << 30, "1GiB")]
)
def test_size_text(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text
