"""The types of the keys: what may stand where, made of the readers of values.py and addresses.py.

Owns the values that are more than one word or number: addresses, ports, lists of them. Used by models.py, which gives
the types their names in the file. Must not know any key.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, PlainValidator

from appliance.addresses import ALL_PORTS, MAX_PORT, AddressRange, PortRange, merge_ports, parse_addresses, parse_ports
from appliance.errors import WrongValue, shown
from appliance.values import (
    absolute_path,
    accepts,
    choice,
    flag,
    group_name,
    host_address,
    interface,
    service_name,
    whole,
)

MAX_ITEMS = 65536
SOCKET_NAME = "control.sock"
MAX_SOCKET_BYTES = 107  # sun_path without its end mark, unix(7)

ADDRESS_TEXT = "an address, a prefix (192.0.2.0/24) or a range (192.0.2.1-192.0.2.9)"
PORT_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": MAX_PORT},
        {"type": "string", "pattern": "^[1-9][0-9]{0,4}-[1-9][0-9]{0,4}$"},
    ],
    "description": "a port or a range (8000-8100)",
}
PORTS_SCHEMA = {
    "anyOf": [{"const": "all"}, {"type": "array", "minItems": 1, "items": PORT_SCHEMA}],
    "description": "`all`, or a list; each entry: a port or a range (8000-8100)",
}
VLAN_SCHEMA = {"type": "integer", "minimum": 1, "maximum": 4094}
VLANS_SCHEMA = {
    "anyOf": [VLAN_SCHEMA, {"type": "array", "minItems": 1, "items": VLAN_SCHEMA}],
    "description": "a number from 1 to 4094, or a list of them",
}


@accepts({"type": "string", "pattern": "^[0-9A-Fa-f:./ -]+$", "description": ADDRESS_TEXT})
def _address(value: object) -> AddressRange:
    if isinstance(value, str):
        return parse_addresses(value)
    quotes = ", in quotes" if isinstance(value, dict | tuple) else ""
    right = f"an address like 192.0.2.1 or 2001:db8::1{quotes}"
    raise WrongValue(f"{shown(value)} is not an address", right)


@accepts({"type": "string", "pattern": "^[0-9A-Fa-f:.]+$", "description": "an address"})
def _host_address(value: object) -> AddressRange:
    span = _address(value)
    if span.first != span.last:
        raise WrongValue(f"{span} is more than one address", f"one of them, as {span.lowest}")
    return span


@accepts(PORTS_SCHEMA)
def _ports(value: object) -> object:
    if value == "all":
        return (str(ALL_PORTS),)
    if isinstance(value, int | str) and not isinstance(value, bool):
        ports = parse_ports(value)  # a mistake in the port itself comes first
        raise WrongValue(f"{ports} is not a list", f"[{ports}], or all")
    return value


@accepts(VLANS_SCHEMA)
def _vlans(value: object) -> object:
    return value if isinstance(value, tuple) else (value,)


def many(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """A list with something in it, and not too much."""
    if not items:
        raise WrongValue("is an empty list", "at least one entry")
    if len(items) > MAX_ITEMS:
        right = f"at most {MAX_ITEMS}, joined to prefixes or ranges"
        raise WrongValue(f"has {len(items)} entries", right)
    return items


@accepts(absolute_path.schema)
def _runtime_dir(value: object) -> Path:
    path = absolute_path(value)
    if len(bytes(path / SOCKET_NAME)) > MAX_SOCKET_BYTES:
        right = f"a path of at most {MAX_SOCKET_BYTES - len(SOCKET_NAME) - 1} bytes"
        raise WrongValue(f"{shown(value)} is too long to hold a socket", right)
    return path


Flag = Annotated[bool, PlainValidator(flag)]
Interface = Annotated[str, PlainValidator(interface)]
ServiceName = Annotated[str, PlainValidator(service_name)]
GroupName = Annotated[str, PlainValidator(group_name)]
Address = Annotated[AddressRange, PlainValidator(_address)]
HostAddress = Annotated[AddressRange, PlainValidator(_host_address)]
Port = Annotated[PortRange, PlainValidator(accepts(PORT_SCHEMA)(parse_ports))]
Vlan = Annotated[int, PlainValidator(whole(1, 4094))]
Host = Annotated[str, PlainValidator(host_address)]
AbsolutePath = Annotated[Path, PlainValidator(absolute_path)]
RuntimeDir = Annotated[Path, PlainValidator(_runtime_dir)]
DropOrPass = Annotated[Literal["drop", "pass"], PlainValidator(choice("drop", "pass"))]
Addresses = Annotated[tuple[Address, ...], AfterValidator(many)]
Ports = Annotated[tuple[Port, ...], BeforeValidator(_ports), AfterValidator(many), AfterValidator(merge_ports)]
Vlans = Annotated[tuple[Vlan, ...], BeforeValidator(_vlans), AfterValidator(many)]
