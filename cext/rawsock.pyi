"""The sockets through which packets of our own leave: packet sockets on both NICs, raw IP sockets in routed mode."""

LANE_NAMES: tuple[str, ...]

class RawSenders:
    """Four lanes: outside, inside (Ethernet frames), ipv4, ipv6 (packets the kernel routes)."""

    def open(self, outside: str, inside: str, routed: bool, mark: int) -> None:
        """Open the packet sockets and, routed, the raw IP sockets with SO_MARK mark. Raises cext.errors.EngineError."""
    def close(self) -> None:
        """Close the sockets and forget what waits. Safe to call twice."""
    def send(self, side: int | None, data: bytes) -> None:
        """Send one packet now: side 0 (outside) or 1 (inside) a whole frame, None an IP packet. Counts failures."""
    def lookup(self) -> tuple[tuple[int, bytes], tuple[int, bytes]]:
        """Look both interfaces up again: (ifindex, MAC) of outside and inside, ifindex 0 where there is none."""
    def sent(self) -> dict[str, int]:
        """Packets sent, by lane."""
    def errors(self) -> dict[str, int]:
        """Packets that could not be sent, by lane and errno: {"outside ENOBUFS": 3}."""
