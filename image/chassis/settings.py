"""box.yaml: which port is which, and how the box is managed.

Owns the keys of that file, version 1, and its mistakes with their places. Called by ports.py and stick.py. Touches
nothing but the file it is given; whether a port exists is asked when the box sets its ports up.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ConfigError, Problem, WrongValue, shown
from appliance.values import whole
from appliance.yamldoc import Document, dotted, parse
from appliance.yamldoc import Path as KeyPath

MAX_FILE_BYTES = 64 << 10
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
# As udev's path_id writes them: pci-0000:02:00.0, with a port after it where one card has several.
# RFC 1123 section 2.1, one label of it; Linux takes 64 bytes.
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
PORT_PATH = re.compile(r"[a-z]+-[A-Za-z0-9:._/-]{3,60}\Z")
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Management:
    """The way to the box itself; `port` None is the first that neither outside nor inside takes."""

    address: Interface
    port: str | None = None
    gateway: Address | None = None
    ntp: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file; a port that is None is taken by its place among the others."""

    outside: str | None = None
    inside: str | None = None
    mtu: int | None = None
    mirror_links: bool = False
    management: Management | None = None
    name: str | None = None


def _name(value: object) -> str:
    if isinstance(value, str) and NAME.match(value):
        return value
    raise WrongValue(f"{shown(value)} is not a host name", "letters, digits and hyphens, like levee-1")


def _port(value: object) -> str:
    text = value.lower() if isinstance(value, str) and MAC.match(value.lower()) else value
    if isinstance(text, str) and (MAC.match(text) or PORT_PATH.match(text)):
        return text
    raise WrongValue(f"{shown(value)} is not a port", "a MAC address in quotes or a path as in PORTS.txt")


def _interface(value: object) -> Interface:
    try:
        if isinstance(value, str) and "/" in value:
            return ipaddress.ip_interface(value)
    except ValueError:
        pass  # said below, with what would be right
    raise WrongValue(f"{shown(value)} is not an address with its prefix length", "one like 192.0.2.10/24")


def _address(value: object) -> Address:
    try:
        if isinstance(value, str):
            return ipaddress.ip_address(value)
    except ValueError:
        pass  # said below, with what would be right
    raise WrongValue(f"{shown(value)} is not an address", "one like 192.0.2.1")


def _addresses(value: object) -> tuple[Address, ...]:
    if isinstance(value, tuple) and 0 < len(value) <= 4:
        return tuple(_address(item) for item in value)
    raise WrongValue(f"{shown(value)} is not a list of addresses", "[192.0.2.1], at most four")


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise WrongValue(f"{shown(value)} is neither true nor false", "true or false")


Readers = Mapping[str, Callable[[object], object]]
TOP: Readers = {
    "version": whole(1, 1),
    "name": _name,
    "outside": _port,
    "inside": _port,
    "mtu": whole(1280, 9216),
    "mirror_links": _switch,
}
MANAGEMENT: Readers = {"port": _port, "address": _interface, "gateway": _address, "ntp": _addresses}


class _Reading:
    """One pass over a document, with all of its problems."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems = list(document.problems)

    def problem(self, path: KeyPath, wrong: str, right: str, *, at_key: bool = False) -> None:
        mark = self.document.key_mark(path) if at_key else self.document.mark(path)
        self.problems.append(Problem(mark.line, mark.column, dotted(path), wrong, f"{right} would be right"))

    def mapping(self, path: KeyPath, value: object, readers: Readers, inner: tuple[str, ...] = ()) -> dict[str, object]:
        """The values that are right; `inner` are keys that somebody else reads."""
        if not isinstance(value, dict):
            self.problem(path, f"{shown(value)} is not a mapping", "`key: value` lines")
            return {}
        found: dict[str, object] = {}
        for key, item in value.items():
            if key in readers:
                try:
                    found[key] = readers[key](item)
                except WrongValue as error:
                    self.problem((*path, key), error.wrong, error.right)
            elif key not in inner:
                known = ", ".join((*readers, *inner))
                self.problem((*path, key), "is not a known key", f"one of {known}", at_key=True)
        return found


def loads(data: bytes, file: str) -> Settings:
    """Settings from the bytes of a file; `file` is its name in messages. Raises ConfigError with all that is wrong."""
    if len(data) > MAX_FILE_BYTES:
        wrong = f"is larger than {MAX_FILE_BYTES >> 10} KiB"
        raise ConfigError(file, [Problem(1, 1, "box", wrong, "the file as delivered would be right")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        right = "a file saved as UTF-8 would be right"
        raise ConfigError(file, [Problem(line, 1, "box", "is not UTF-8 text", right)]) from error
    document = parse(text)
    reading = _Reading(document)
    settings = Settings()
    if not document.problems:
        settings = _settings(reading, document.value)
    if reading.problems:
        raise ConfigError(file, reading.problems)
    return settings


def _settings(reading: _Reading, value: object) -> Settings:
    top = reading.mapping((), value, TOP, ("management",))
    if isinstance(value, dict) and "version" not in value:
        reading.problem((), "has no version", "`version: 1`")
    management: Management | None = None
    if isinstance(value, dict) and "management" in value:
        found = reading.mapping(("management",), value["management"], MANAGEMENT)
        address, gateway = found.get("address"), found.get("gateway")
        if isinstance(address, Interface):
            if isinstance(gateway, Address) and gateway not in address.network:
                wrong = f"{gateway} is not in the network {address.network}"
                reading.problem(("management", "gateway"), wrong, "a router next to the box")
            ntp = found.get("ntp")
            management = Management(
                address,
                _text(found.get("port")),
                gateway if isinstance(gateway, Address) else None,
                ntp if isinstance(ntp, tuple) else (),
            )
        elif "address" not in (value["management"] or {}):
            reading.problem(("management",), "has no address", "address: 192.0.2.10/24", at_key=True)
    named = [name for name in (top.get("outside"), top.get("inside"), management and management.port) if name]
    if len(set(named)) < len(named):
        reading.problem((), "gives one port two uses", "a port of its own for each")
    mtu = top.get("mtu")
    return Settings(
        _text(top.get("outside")),
        _text(top.get("inside")),
        mtu if isinstance(mtu, int) else None,
        top.get("mirror_links") is True,
        management,
        _text(top.get("name")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def load(path: Path) -> Settings:
    """As loads(), for a file; without one the settings are those of a box as delivered."""
    try:
        with path.open("rb") as file:
            return loads(file.read(MAX_FILE_BYTES + 1), path.name)
    except FileNotFoundError:
        return Settings()
