"""What servers were heard to answer, kept over restarts and shown to the operator.

Owns the file backends.json in state_dir and the reply of org.levee.Backends. Called by daemon.py. The data plane owns
what is known while it runs, and uses it; here it is only copied out and, at a start, in. A file that cannot be used
costs nothing but the first guess at the next connection: it is put aside, said, and begun anew.
"""

from __future__ import annotations

import bisect
import ipaddress
import logging
import time
from typing import TYPE_CHECKING, Protocol, TypedDict

from appliance import statefile
from appliance.addresses import Area, segments
from appliance.errors import OperatorError
from appliance.statefile import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from appliance.models import Config
    from cext.dataplane import Backend

LOG = logging.getLogger(__name__)

FILE_NAME = "backends.json"
VERSION = 1
KEPT_S = 20 * 86400  # a server not heard for so long is forgotten; the data plane's clock goes round after 49 days
LOOK_S = 60.0  # so often it is asked whether there is something new to write
REFRESH_S = 6 * 3600.0  # so often the ages in the file are brought up to date
MAX_ENTRIES = 8192
MAX_WSCALE = 14
MAX_U16 = 65535
OPTIONS = ("wscale", "sack", "timestamps", "ecn")


class Learned(Protocol):
    """What is needed of an engine."""

    def backends(self) -> list[Backend]:
        """What is known."""

    def restore_backends(self, backends: Iterable[Backend]) -> int:
        """Adds what is not known."""

    def forget_backends(self, older_than_ms: int) -> int:
        """Drops what is too old."""


class BackendReport(TypedDict):
    """One server. known: the options it was asked for, the others say nothing. pinned: its service says what holds."""

    address: str
    port: int
    service: str
    pinned: bool
    mss: int
    wscale: int | None
    sack: bool
    timestamps: bool
    ecn: bool
    known: list[str]
    window: int
    age_s: int


def address_text(packed: bytes) -> str:
    """The 16 bytes of an address as an operator writes it."""
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)


def report(found: Iterable[Backend], config: Config) -> list[BackendReport]:
    """What is known, by address and port."""
    lines: list[tuple[bytes, BackendReport]] = []
    service_of = ServiceIndex(config)
    for one in found:
        text = address_text(one["address"])
        service = service_of.find(text, one["port"])
        line: BackendReport = {
            "address": text,
            "port": one["port"],
            "service": service,
            "pinned": bool(service) and config.services[service].server.pin,
            "mss": one["mss"],
            "wscale": one["wscale"],
            "sack": one["sack"],
            "timestamps": one["timestamps"],
            "ecn": one["ecn"],
            "known": list(one["known"]),
            "window": one["window"],
            "age_s": one["age_ms"] // 1000,
        }
        lines.append((one["address"], line))
    return [line for _, line in sorted(lines, key=lambda pair: (pair[0], pair[1]["port"]))]


class ServiceIndex:
    """Finds the service of an address and port; made once for many questions."""

    def __init__(self, config: Config) -> None:
        self._services = config.services
        owners = [(name, span) for name, service in config.services.items() for span in service.addresses]
        areas = [Area(span, config.services[name].ports) for name, span in owners]
        self._spans = sorted(
            (
                (one.addresses.family, one.addresses.first, one.addresses.last, [owners[at][0] for at in one.areas])
                for one in segments(areas)
            ),
            key=lambda span: span[:2],
        )

    def find(self, address: str, port: int) -> str:
        """Its name (the first one, where VLANs tell several apart), "" for none."""
        ip = ipaddress.ip_address(address)
        at = bisect.bisect_right(self._spans, (ip.version, int(ip)), key=lambda span: span[:2]) - 1
        if at < 0 or self._spans[at][0] != ip.version or self._spans[at][2] < int(ip):
            return ""
        for name in self._spans[at][3]:
            if any(ports.first <= port <= ports.last for ports in self._services[name].ports):
                return name
        return ""


class Keeper:
    """Keeps what the engine knows in a file. `problem` is what an operator should know, None while all is well."""

    def __init__(self, folder: Path, engine: Learned) -> None:
        self._path = folder / FILE_NAME
        self._engine = engine
        self._written: list[Backend] = []
        self._looked_s = self._wrote_s = time.monotonic()
        self.problem: str | None = None

    def load(self) -> None:
        """Gives the engine what the file remembers. Never raises: without the file servers are learned anew."""
        try:
            content = statefile.read(self._path)
            if content is None:
                return
            entries = parse(content, time.time())
        except UnreadableError as error:
            self._put_aside(str(error))
        except OperatorError as error:
            self.problem = f"{error.message} ({error.hint})"
        else:
            count = self._engine.restore_backends(entries)
            LOG.info("servers remembered: %d", count)

    def turn(self) -> None:
        """To be called about once a second: writes the file when there is something new."""
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        self._engine.forget_backends(KEPT_S * 1000)
        found = self._engine.backends()
        if _without_age(found) != _without_age(self._written) or now_s - self._wrote_s >= REFRESH_S:
            self._write(found)

    def save(self) -> None:
        """At the end."""
        self._write(self._engine.backends())

    def _write(self, found: list[Backend]) -> None:
        try:
            statefile.write(self._path, content_of(found, time.time()))
        except OperatorError as error:
            self.problem = f"{error.message} ({error.hint})"
        else:
            self._written, self._wrote_s, self.problem = found, time.monotonic(), None

    def _put_aside(self, wrong: str) -> None:
        try:
            aside = statefile.put_aside(self._path)
        except OperatorError as error:
            self.problem = f"{self._path}: {wrong}; {error.message} ({error.hint})"
        else:
            self.problem = f"{self._path}: {wrong}; put aside as {aside.name}, servers are learned anew"


def _without_age(found: list[Backend]) -> list[tuple[object, ...]]:
    return sorted(tuple(value for name, value in one.items() if name != "age_ms") for one in found)


def content_of(found: Iterable[Backend], now_s: float) -> dict[str, object]:
    """The file's content. `now_s` is the time of day, in which ages survive a restart of the machine."""
    entries = [
        {
            "address": address_text(one["address"]),
            "seen_s": int(now_s - one["age_ms"] / 1000),
            "known": list(one["known"]),
            **{name: one[name] for name in ("port", "mss", "wscale", "sack", "timestamps", "ecn", "window")},
        }
        for one in found
    ]
    return {"version": VERSION, "backends": entries}


def parse(content: dict[str, object], now_s: float) -> list[Backend]:
    """The entries that are not too old. One seen in the future (the clock was set back) is as good as new.

    Raises UnreadableError when anything in it is not as content_of() writes it: a half of it could be wrong too.
    """
    if content.get("version") != VERSION:
        raise UnreadableError(f"is of version {content.get('version')!r}, {VERSION} would be right")
    entries = content.get("backends")
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        raise UnreadableError(f"has no list of at most {MAX_ENTRIES} backends")
    found = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise UnreadableError(f"backend {number} is not an object")
        try:
            one, seen_s = _entry(entry)
        except (KeyError, ValueError) as error:
            raise UnreadableError(f"backend {number}: {error}") from error
        age_s = max(0.0, now_s - seen_s)
        if age_s < KEPT_S:
            one["age_ms"] = round(age_s * 1000)
            found.append(one)
    return found


def _entry(entry: dict[str, object]) -> tuple[Backend, int]:
    known = entry["known"]
    wscale = entry["wscale"]
    if not isinstance(known, list) or not all(name in OPTIONS for name in known):
        raise ValueError("known is not a list of options")
    ip = ipaddress.ip_address(str(entry["address"]))
    mapped = int(ip) if ip.version == 6 else 0xFFFF << 32 | int(ip)
    one: Backend = {
        "address": mapped.to_bytes(16, "big"),
        "port": _whole(entry, "port", MAX_U16),
        "mss": _whole(entry, "mss", MAX_U16),
        "wscale": None if wscale is None else _whole(entry, "wscale", MAX_WSCALE),
        "sack": _flag(entry, "sack"),
        "timestamps": _flag(entry, "timestamps"),
        "ecn": _flag(entry, "ecn"),
        "known": tuple(known),
        "window": _whole(entry, "window", MAX_U16),
        "age_ms": 0,
    }
    return one, _whole(entry, "seen_s", 1 << 40)


def _whole(entry: dict[str, object], name: str, most: int) -> int:
    value = entry[name]
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{name} is {value!r}, 0 to {most} would be right")
    return value


def _flag(entry: dict[str, object], name: str) -> bool:
    value = entry[name]
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, true or false would be right")  # noqa: TRY004 - of a file, not a type
    return value
