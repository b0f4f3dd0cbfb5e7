"""Single values of the configuration: numbers in bounds, sizes with units, names, paths, choices.

Owns the reading of one value: what is accepted, also as JSON Schema (tools/docs.py makes the documentation and the
schema for editors from it), and the sentence for what is not. Called by models.py through pydantic. Every reader raises
WrongValue. Must not know keys, places in files, or other values.
"""

import contextlib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from appliance.errors import WrongValue, shown

# Linux: IFNAMSIZ is 16 with the end mark (include/uapi/linux/if.h), dev_valid_name() in net/core/dev.c. The quote,
# backslash and star are ours: nftables would read them as something else.
INTERFACE_NAME = re.compile(r'[^\s/:"*\\\x00-\x20\x7f]{1,15}\Z')
SERVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}\Z")
GROUP_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")  # groupadd(8), Debian's NAME_REGEX without the trailing $
SIZE = re.compile(r"(0|[1-9][0-9]{0,12})(B|KiB|MiB|GiB)\Z")
UNITS = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
DURATION = re.compile(r"(0|[1-9][0-9]{0,9})(s|m|h|d)\Z")
DURATION_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
RATE = re.compile(r"([1-9][0-9]{0,5})/(s|min|h)\Z")
RATE_UNITS = {"s": 1, "min": 60, "h": 3600}
MAX_WSCALE = 14  # RFC 7323 section 2.3
MAX_PATH_BYTES = 4000

Read_co = TypeVar("Read_co", covariant=True)
Schema = Mapping[str, object]


@dataclass(frozen=True, slots=True, eq=False)  # a reader equals itself only: typing hashes it
class Reader(Generic[Read_co]):
    """How one value of the file is read, what it may be, and how it is written.

    `schema` is JSON Schema (draft 2020-12) without the checks that it cannot say; its `description`, where there is
    one, completes the sentence "the value is ...".
    """

    read: Callable[[object], Read_co]
    schema: Schema
    text: Callable[[Any], str] = str

    def __call__(self, value: object) -> Read_co:
        """The value, or WrongValue."""
        return self.read(value)


def accepts(schema: Schema) -> Callable[[Callable[[object], Read_co]], Reader[Read_co]]:
    """Makes a Reader of a function."""
    return lambda read: Reader(read, schema)


def pattern(expression: re.Pattern[str]) -> str:
    """An expression of this file as the ECMA 262 dialect of JSON Schema has it."""
    return f"^{expression.pattern.removesuffix(chr(92) + 'Z')}$"


def whole(low: int, high: int) -> Reader[int]:
    """A whole number from `low` to `high`."""

    @accepts({"type": "integer", "minimum": low, "maximum": high})
    def read(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        wrong = "is out of bounds" if type(value) is int else "is not a whole number"
        raise WrongValue(f"{shown(value)} {wrong}", f"{low} to {high}" if low < high else str(low))

    return read


@accepts(
    {
        "anyOf": [{"type": "integer", "minimum": 0, "maximum": MAX_WSCALE}, {"const": "none"}],
        "description": f"a shift count from 0 to {MAX_WSCALE}, or `none`",
    }
)
def window_scale(value: object) -> int | None:
    """A shift count of RFC 7323, or none: no window scaling."""
    if value == "none":
        return None
    if type(value) is int and 0 <= value <= MAX_WSCALE:
        return value
    raise WrongValue(f"{shown(value)} is not a window scale", f"0 to {MAX_WSCALE}, or none")


def size_text(size_bytes: int) -> str:
    """The size with the largest unit that leaves it whole: 65536 is 64KiB."""
    unit, scale = next(
        (unit, scale) for unit, scale in UNITS.items() if size_bytes % scale == 0 and (size_bytes or scale == 1)
    )
    return f"{size_bytes // scale}{unit}"


def size(low_bytes: int, high_bytes: int) -> Reader[int]:
    """A size in bytes, written with its unit: B, KiB, MiB or GiB."""

    def read(value: object) -> int:
        right = f"{size_text(low_bytes)} to {size_text(high_bytes)}"
        if type(value) is int and value >= 0:
            raise WrongValue(f"{value} has no unit", f"{size_text(value)}, if bytes are meant")
        match = SIZE.match(value) if isinstance(value, str) else None
        if not match:
            raise WrongValue(f"{shown(value)} is not a size", f"a number and B, KiB, MiB or GiB, {right}")
        size_bytes = int(match[1]) * UNITS[match[2]]
        if not low_bytes <= size_bytes <= high_bytes:
            raise WrongValue(f"{value} is out of bounds", right)
        return size_bytes

    words = f"a size with its unit (B, KiB, MiB, GiB), {size_text(low_bytes)} to {size_text(high_bytes)}"
    return Reader(read, {"type": "string", "pattern": pattern(SIZE), "description": words}, size_text)


def duration_text(seconds: int) -> str:
    """The duration with the largest unit that leaves it whole: 600 is 10m."""
    unit, scale = next((unit, scale) for unit, scale in DURATION_UNITS.items() if seconds % scale == 0)
    return f"{seconds // scale}{unit}"


def duration(low_s: int, high_s: int) -> Reader[int]:
    """A time in seconds, written with its unit: s, m, h or d."""

    def read(value: object) -> int:
        right = f"{duration_text(low_s)} to {duration_text(high_s)}"
        match = DURATION.match(value) if isinstance(value, str) else None
        if not match:
            raise WrongValue(f"{shown(value)} is not a time", f"a number and s, m, h or d, {right}")
        seconds = int(match[1]) * DURATION_UNITS[match[2]]
        if not low_s <= seconds <= high_s:
            raise WrongValue(f"{shown(value)} is out of bounds", right)
        return seconds

    words = f"a time with its unit (s, m, h, d), {duration_text(low_s)} to {duration_text(high_s)}"
    return Reader(read, {"type": "string", "pattern": pattern(DURATION), "description": words}, duration_text)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in a time."""

    count: int
    period_s: int

    def __str__(self) -> str:
        """As in the file."""
        return f"{self.count}/{next(unit for unit, period_s in RATE_UNITS.items() if period_s == self.period_s)}"


def rate(most_per_s: int) -> Reader[Rate]:
    """A number in a second, a minute or an hour; of none more than `most_per_s` a second would make."""

    def read(value: object) -> Rate:
        match = RATE.match(value) if isinstance(value, str) else None
        if not match:
            raise WrongValue(f"{shown(value)} is not a rate", "a number, / and s, min or h, for example 10/min")
        found = Rate(int(match[1]), RATE_UNITS[match[2]])
        if found.count > most_per_s * found.period_s:
            most = Rate(most_per_s * found.period_s, found.period_s)
            raise WrongValue(f"{found} is out of bounds", f"at most {most}")
        return found

    words = f"a number in a second, a minute or an hour (10/s, 10/min, 10/h), at most {most_per_s} a second"
    return Reader(read, {"type": "string", "pattern": pattern(RATE), "description": words})


@accepts({"type": "boolean"})
def flag(value: object) -> bool:
    """true or false, nothing else."""
    if isinstance(value, bool):
        return value
    raise WrongValue(f"{shown(value)} is not a boolean", "true or false")


def choice(*words: str) -> Reader[str]:
    """One of a few words."""
    right = " or ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]

    @accepts({"enum": list(words)})
    def read(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise WrongValue(f"{shown(value)} is not one of the choices", right)

    return read


@accepts({"type": "string", "maxLength": 15, "description": "the name of a network interface"})
def interface(value: object) -> str:
    """The name of a network interface; whether it exists is not asked."""
    if isinstance(value, str) and INTERFACE_NAME.match(value) and value not in (".", ".."):
        return value
    right = "a name of at most 15 characters without spaces, slashes, colons, quotes and stars"
    if type(value) in (int, float):
        right = f'"{value}" in quotes, if the interface has that name'
    raise WrongValue(f"{shown(value)} is not the name of an interface", right)


@accepts({"type": "string", "pattern": pattern(GROUP_NAME), "description": "the name of a group"})
def group_name(value: object) -> str:
    """The name of a group of users; whether it exists is not asked."""
    if isinstance(value, str) and GROUP_NAME.match(value):
        return value
    raise WrongValue(f"{shown(value)} is not the name of a group", "a name like adm or levee-admin")


@accepts({"type": "string", "pattern": "^[0-9A-Fa-f:.]+$", "description": "an address"})
def host_address(value: object) -> str:
    """The address of one host, as it is written usually."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(value))
    raise WrongValue(
        f"{shown(value)} is not the address of a host", "an address like 192.0.2.1; names are not asked for"
    )


@accepts({"type": "string", "pattern": "^/", "description": "a path from the root"})
def absolute_path(value: object) -> Path:
    """The path of a file or folder, from the root."""
    if (
        isinstance(value, str)
        and value.startswith("/")
        and "\0" not in value
        and ".." not in Path(value).parts
        and len(value.encode()) <= MAX_PATH_BYTES
    ):
        return Path(value)
    raise WrongValue(f"{shown(value)} is not an absolute path", "a path that begins with / and has no ..")


@accepts(
    {
        "type": "string",
        "pattern": pattern(SERVICE_NAME),
        "description": "a name: up to 32 letters, digits, - and _, the first a letter or digit",
    }
)
def service_name(value: object) -> str:
    """The name of a service: it appears in screens, metrics and logs."""
    if isinstance(value, str) and SERVICE_NAME.match(value):
        return value
    raise WrongValue(
        f"{shown(value)} is not a name for a service",
        "up to 32 letters, digits, - and _, the first a letter or digit",
    )
