"""Address ranges and port ranges: parsing, and the arithmetic of areas (addresses times ports).

Owns the types that stand for "these addresses" and "these ports" everywhere in the appliance. Called by models.py
(parsing), config.py (overlaps), rules.py (sets) and proposals.py (differences). Addresses are integers in host order,
both ends of every range are inside it. Must not know services or nftables.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal, NamedTuple

from appliance.errors import WrongValue, shown

MAX_PORT = 65535
IPV4_MAPPED = 0xFFFF << 32


@dataclass(frozen=True, slots=True, order=True)
class AddressRange:
    """The addresses `first` to `last` of one family."""

    family: Literal[4, 6]
    first: int
    last: int

    def __str__(self) -> str:
        """As an address, a prefix or a range, whichever is shortest; nftables reads all three."""
        low, high = self._address(self.first), self._address(self.last)
        if self.first == self.last:
            return str(low)
        size = self.last - self.first + 1
        if size & (size - 1) == 0 and self.first % size == 0:
            bits = (32 if self.family == 4 else 128) - (size.bit_length() - 1)
            return f"{low}/{bits}"
        return f"{low}-{high}"

    @property
    def lowest(self) -> str:
        """Its first address."""
        return str(self._address(self.first))

    def _address(self, value: int) -> IPv4Address | IPv6Address:
        return IPv4Address(value) if self.family == 4 else IPv6Address(value)


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """The ports `first` to `last`."""

    first: int
    last: int

    def __str__(self) -> str:
        """`80`, or `8000-8100`."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


ALL_PORTS = PortRange(1, MAX_PORT)


def parse_addresses(text: str) -> AddressRange:
    """`192.0.2.1`, `192.0.2.0/24`, `192.0.2.10-192.0.2.20`, or the same in IPv6. Raises WrongValue."""
    if "%" in text:
        raise WrongValue(f"{text} has a zone", "the address without %")
    if "-" in text:
        low_text, _, high_text = text.partition("-")
        low, high = _address(low_text.strip(), text), _address(high_text.strip(), text)
        if low.version != high.version:
            raise WrongValue(f"{text} mixes IPv4 and IPv6", "a range for each of them")
        if int(low) > int(high):
            raise WrongValue(f"{text} runs backwards", f"{high}-{low}")
        span = AddressRange(low.version, int(low), int(high))
    elif "/" in text:
        span = _prefix(text)
    else:
        address = _address(text, text)
        span = AddressRange(address.version, int(address), int(address))
    _refuse_unusable(span, text)
    return span


def _address(part: str, whole: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(part)
    except ValueError:
        of = f" (in {whole})" if part != whole else ""
        raise WrongValue(
            f"{part or 'nothing'} is not an address{of}",
            "an address, a prefix like 192.0.2.0/24 or 2001:db8::/64, or a range like 192.0.2.1-192.0.2.9",
        ) from None


def _prefix(text: str) -> AddressRange:
    address_text, _, bits_text = text.partition("/")
    address = _address(address_text, text)
    if not bits_text.isdecimal() or not bits_text.isascii() or int(bits_text) > address.max_prefixlen:
        raise WrongValue(f"{text} has no valid prefix length", f"/0 to /{address.max_prefixlen} after the address")
    network = ip_network((address, int(bits_text)), strict=False)
    if network.network_address != address:
        raise WrongValue(f"{text} has bits set behind its prefix", f"{network} or {address}")
    return AddressRange(network.version, int(network.network_address), int(network.broadcast_address))


def _refuse_unusable(span: AddressRange, text: str) -> None:
    """Ranges in which no host can be: a mistake, since no packet would ever match."""
    low = IPv4Address(span.first) if span.family == 4 else IPv6Address(span.first)
    high = IPv4Address(span.last) if span.family == 4 else IPv6Address(span.last)
    if span.family == 6 and span.first >= IPV4_MAPPED and span.last < IPV4_MAPPED + (1 << 32):
        raise WrongValue(f"{text} is an IPv4 address inside IPv6", "the IPv4 address alone")
    for kind in ("multicast", "loopback", "unspecified"):
        if getattr(low, f"is_{kind}") and getattr(high, f"is_{kind}"):
            raise WrongValue(f"{text} is {kind}, no host on a wire has it", "an address of a host")


def parse_ports(value: object) -> PortRange:
    """`80` or `"8000-8100"`. Raises WrongValue."""
    right = f"a port from 1 to {MAX_PORT}, or a range like 8000-8100"
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise WrongValue(f"{shown(value)} is not a port", right)
    if isinstance(value, int):
        if not 1 <= value <= MAX_PORT:
            raise WrongValue(f"{value} is not a port", right)
        return PortRange(value, value)
    low, dash, high = (part.strip() for part in value.partition("-"))
    numbers = [int(part) for part in (low, high or low) if part.isdecimal() and part.isascii()]
    if len(numbers) != 2 or bool(dash) != bool(high):
        raise WrongValue(f"{value or 'nothing'} is not a port", right)
    if not all(1 <= number <= MAX_PORT for number in numbers):
        raise WrongValue(f"{value} leaves the range of ports", right)
    if numbers[0] > numbers[1]:
        raise WrongValue(f"{value} runs backwards", f"{numbers[1]}-{numbers[0]}")
    return PortRange(numbers[0], numbers[1])


def merge_ports(ranges: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """The same ports in as few ranges as possible, ascending."""
    merged: list[PortRange] = []
    for ports in sorted(ranges):
        if merged and ports.first <= merged[-1].last + 1:
            merged[-1] = PortRange(merged[-1].first, max(merged[-1].last, ports.last))
        else:
            merged.append(ports)
    return tuple(merged)


def merge_addresses(ranges: Iterable[AddressRange]) -> tuple[AddressRange, ...]:
    """The same addresses in as few ranges as possible, IPv4 first, ascending."""
    merged: list[AddressRange] = []
    for span in sorted(ranges):
        last = merged[-1] if merged else None
        if last and span.family == last.family and span.first <= last.last + 1:
            merged[-1] = AddressRange(last.family, last.first, max(last.last, span.last))
        else:
            merged.append(span)
    return tuple(merged)


class Area(NamedTuple):
    """Every port of `ports` at every address of `addresses`."""

    addresses: AddressRange
    ports: tuple[PortRange, ...]


class Segment(NamedTuple):
    """A range of addresses that lies in all the areas with these indices, and in no other."""

    addresses: AddressRange
    areas: tuple[int, ...]


def segments(areas: Sequence[Area]) -> list[Segment]:
    """Cuts the address line at every end of an area; segments are disjoint, ascending, IPv4 first.

    A sweep: O(n log n) for areas of which few lie over each other.
    """
    starts: dict[tuple[int, int], list[int]] = {}
    ends: dict[tuple[int, int], list[int]] = {}
    for index, area in enumerate(areas):
        span = area.addresses
        starts.setdefault((span.family, span.first), []).append(index)
        ends.setdefault((span.family, span.last + 1), []).append(index)
    points = sorted(starts.keys() | ends.keys())
    found: list[Segment] = []
    active: set[int] = set()
    for here, point in enumerate(points):
        active.difference_update(ends.get(point, ()))
        active.update(starts.get(point, ()))
        if active:  # an end of every active area follows, in the same family
            family: Literal[4, 6] = 4 if point[0] == 4 else 6
            span = AddressRange(family, point[1], points[here + 1][1] - 1)
            found.append(Segment(span, tuple(sorted(active))))
    return found


def disjoint(areas: Sequence[Area]) -> tuple[Area, ...]:
    """The same addresses and ports as areas that do not overlap, neighbours with equal ports joined.

    This is what an nftables set of intervals needs: it takes no two elements that overlap.
    """
    joined: list[Area] = []
    for span, indices in segments(areas):
        ports = merge_ports(port for index in indices for port in areas[index].ports)
        last = joined[-1] if joined else None
        if (
            last
            and last.ports == ports
            and last.addresses.family == span.family
            and last.addresses.last + 1 == span.first
        ):
            joined[-1] = Area(AddressRange(span.family, last.addresses.first, span.last), ports)
        else:
            joined.append(Area(span, ports))
    return tuple(joined)


def shared_addresses(ones: Iterable[AddressRange], others: Iterable[AddressRange]) -> tuple[AddressRange, ...]:
    """What lies in both."""
    others = merge_addresses(others)
    return tuple(
        AddressRange(one.family, max(one.first, other.first), min(one.last, other.last))
        for one in merge_addresses(ones)
        for other in others
        if one.family == other.family and max(one.first, other.first) <= min(one.last, other.last)
    )


def without_addresses(ones: Iterable[AddressRange], cut: Iterable[AddressRange]) -> tuple[AddressRange, ...]:
    """What is left of `ones`."""
    left = merge_addresses(ones)
    for away in merge_addresses(cut):
        parts = [
            (one.family, first, last)
            for one in left
            for first, last in (
                ((one.first, min(one.last, away.first - 1)), (max(one.first, away.last + 1), one.last))
                if one.family == away.family
                else ((one.first, one.last),)
            )
        ]
        left = tuple(AddressRange(family, first, last) for family, first, last in parts if first <= last)
    return left


def without_ports(ones: Iterable[PortRange], cut: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """What is left of `ones`."""
    left = merge_ports(ones)
    for away in merge_ports(cut):
        parts = [
            part
            for one in left
            for part in ((one.first, min(one.last, away.first - 1)), (max(one.first, away.last + 1), one.last))
        ]
        left = tuple(PortRange(first, last) for first, last in parts if first <= last)
    return left
