"""A box that is always the same: a minute in which a flood begins, for pictures that can be compared.

The replies have the shapes of org.levee.varlink (tests/unit/test_screens.py holds them against the real ones). What the
interface does with a real daemon is shown in tests/lab/test_tui.py.
"""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any, cast

from appliance.report import ServiceReport, StatusReport, service_report
from appliance.tui.box import Box
from cext.dataplane import DROP_REASONS, EVENTS

SECONDS = 61
FLOOD_FROM_S = 24
NOON = 1_763_726_400  # 2025-11-21 12:00:00 UTC

TEXT = """\
version: 1
mode: bridge
bridge: br0
outside: enp1s0
inside: enp2s0
services:
  web:
    addresses: [192.0.2.10, "2001:db8:2::10"]
    ports: [80, 443]
  game:
    addresses: [192.0.2.32/28]
    ports: [27015-27030]
    protect: auto
  mail:
    addresses: [192.0.2.25]
    ports: [25, 465, 587, 993]
"""

# Service -> protect, ordinary SYNs a second.
SERVICES = {"web": ("always", 220), "game": ("auto", 40), "mail": ("always", 12)}


def _wave(second: int) -> int:
    return (0, 3, 5, 8, 6, 4, 1)[second % 7]


def _service(name: str, second: int) -> ServiceReport:
    protect, usual = SERVICES[name]
    clients = sum(usual + _wave(one) * usual // 10 for one in range(second))
    flood = sum(164_000 + 2_900 * _wave(one + 3) for one in range(FLOOD_FROM_S, second)) if name == "web" else 0
    events = dict.fromkeys(EVENTS, 0)
    answered = clients if protect == "always" else 0
    events |= {
        "syn_received": 9_000_000 + clients + flood,
        "synack_sent": 9_000_000 + answered + flood,
        "cookie_valid": 8_991_000 + answered,
        "cookie_invalid": 1200 + flood // 900,
        "opened": 8_990_000 + answered,
        "refused": 212,
        "timed_out": 31,
        "closed": 8_989_000 + clients,
        "expired": 400,
    }
    drops = {"syn_answered": 9_000_000 + flood, "cookie_invalid": 1200 + flood // 900, "no_flow": 310 + flood // 4000}
    drops |= {"tcp_flags": 17, "blocked": flood // 70, "rst_invalid": 3}
    return service_report(protect, {"events": events, "drops": drops}, guard=False)


def _frame(ends: tuple[int, int], ports: tuple[int, int], flags: int, seq: int, ack: int = 0) -> str:
    """The headers of a TCP segment between 203.0.113.x and 192.0.2.x, as base64."""
    ip = struct.pack("!BxHxxxxBBxx4B4B", 0x45, 40, 64, 6, *ends_of(ends))
    return base64.b64encode(
        bytes(12) + b"\x08\x00" + ip + struct.pack("!HHIIBBHxxxx", *ports, seq, ack, 0x50, flags, 64240)
    ).decode()


def ends_of(hosts: tuple[int, int]) -> tuple[int, ...]:
    """The bytes of source and destination; a client's number is over 20, a server's is not."""
    return tuple(byte for host in hosts for byte in ((203, 0, 113, host) if host > 20 else (192, 0, 2, host)))


class Recorded(Box):
    """Every question for the status is a second later, until the minute is over."""

    def __init__(self, *, state: str = "ATTACK", pending: bool = False, problems: tuple[str, ...] = ()) -> None:
        super().__init__(Path("recorded"))
        self.second = 0
        self.state = state
        self.pending = pending
        self.problems = problems
        self.done: list[tuple[Any, ...]] = []

    @property
    def over(self) -> bool:
        return self.second >= SECONDS

    def clock_s(self) -> float:
        return float(self.second)

    def status(self) -> StatusReport:
        self.second = min(self.second + 1, SECONDS)
        services = {name: _service(name, self.second) for name in SERVICES}
        if self.state == "BYPASS":
            for one in services.values():
                one["protected"] = False
        attack = {"web": {"age_s": self.second - FLOOD_FROM_S, "now_per_s": 171_204, "peak_per_s": 187_911}}
        drops = {reason: sum(one["drops"].get(reason, 0) for one in services.values()) for reason in DROP_REASONS}
        return cast(
            "StatusReport",
            {
                "version": "0.1.0",
                "mode": "bridge",
                "engine": "bpf",
                "engine_reason": "bpf: mode, kernel and interfaces allow it",
                "steering": "programs on enp1s0 and enp2s0",
                "uptime_s": 273_906,
                "state": self.state,
                "links": {"outside": {"name": "enp1s0", "up": True}, "inside": {"name": "enp2s0", "up": True}},
                "configuration": {
                    "number": 7,
                    "edited": False,
                    "restarting": False,
                    "pending": {"number": 7, "back_to": 6, "user": "anna", "left_s": 87} if self.pending else None,
                },
                "problems": list(self.problems),
                "attacks": attack if self.state == "ATTACK" else {},
                "flows": {"used": 18_400, "capacity": 262_144},
                "half_open": {"used": 65_536, "capacity": 65_536},
                "sources": {"used": 0, "capacity": 65_536},
                "hold": {"bytes": 2_240_000, "capacity": 67_108_864},
                "services": services,
                "drops": drops,
                "passed": 12_000_000 + 900 * self.second,
                "translated": 91_000_000 + sum(41_000 + 900 * _wave(one) for one in range(self.second)),
                "queues": [],
            },
        )

    def reasons(self) -> dict[str, str]:
        return dict(DROP_REASONS)

    def events(self) -> list[dict[str, Any]]:
        ended: dict[str, Any] = {"ended_s": NOON - 86_100, "lasted_s": 300, "cut": False}
        return [
            {"service": "game", "started_s": NOON - 86_400, "value": "syns_per_s", "measured": 1490, "limit": 1000}
            | {"peak_per_s": 3107}
            | ended,
            {"service": "web", "started_s": NOON, "value": "unfinished_per_s", "measured": 163_310, "limit": 1000}
            | {"peak_per_s": 187_911, "ended_s": None, "lasted_s": 36, "cut": False},
        ]

    def backends(self) -> list[dict[str, Any]]:
        known = ["wscale", "sack", "timestamps", "ecn"]
        one = {"mss": 1460, "wscale": 7, "sack": True, "timestamps": True, "ecn": False, "window": 65_160}
        return [
            {"address": "192.0.2.10", "port": 443, "service": "web", "pinned": False, "known": known, "age_s": 2} | one,
            {"address": "2001:db8:2::10", "port": 443, "service": "web", "pinned": False, "known": known, "age_s": 9}
            | one
            | {"mss": 1440},
            {"address": "192.0.2.25", "port": 25, "service": "mail", "pinned": True, "known": known[:2], "age_s": 61}
            | one
            | {"wscale": None},
        ]

    def blocked(self) -> list[dict[str, Any]]:
        return [
            {
                "prefix": "198.51.100.0/24",
                "action": "block",
                "since_s": NOON,
                "until_s": NOON + 7200,
                "comment": "scan",
            },
            {"prefix": "198.51.100.7/32", "action": "allow", "since_s": NOON, "until_s": None, "comment": "monitoring"},
            {"prefix": "2001:db8:bad::/48", "action": "block", "since_s": NOON, "until_s": None, "comment": ""},
        ]

    def flows(self, most: int, client_addresses: str, service: str) -> list[dict[str, Any]]:
        states = ("established", "established", "syn_sent", "established", "pass", "closed")
        found = [
            {
                "client": f"203.0.113.{20 + number}",
                "client_port": 40_000 + 37 * number,
                "server": "192.0.2.10",
                "server_port": 443,
                "vlans": [],
                "state": states[number % len(states)],
                "service": "web",
                "age_ms": 61_000 * number + 800,
                "idle_ms": 700 * (number % 5),
            }
            for number in range(30)
        ]
        chosen = [one for one in found if client_addresses in ("", one["client"]) and service in ("", one["service"])]
        return chosen[:most]

    def capture(self, address: str, service: str, reasons: str, seconds: int) -> int:
        self.done.append(("capture", address, service, reasons, seconds))
        return 1

    def capture_take(self, number: int) -> dict[str, Any]:  # noqa: ARG002
        rows = (
            (0, "outside", "dropped", "syn_answered", _frame((21, 10), (40_000, 443), 2, 1_000_000)),
            (0, "outside", "sent", "", _frame((10, 21), (443, 40_000), 18, 3_735_928_559, 1_000_001)),
            (31, "outside", "translated", "", _frame((21, 10), (40_000, 443), 16, 1_000_001, 3_735_928_560)),
            (32, "inside", "sent", "", _frame((21, 10), (40_000, 443), 2, 1_000_000)),
            (33, "inside", "translated", "", _frame((10, 21), (443, 40_000), 24, 77_001, 1_000_518)),
            (40, "outside", "dropped", "cookie_invalid", _frame((29, 10), (1025, 443), 16, 5, 6)),
        )
        packets = [
            {"time_ns": NOON * 10**9 + at_ms * 10**6, "side": side, "fate": fate, "reason": reason, "service": "web"}
            | {"length": 60, "data": data}
            for at_ms, side, fate, reason, data in rows
        ]
        return {"packets": packets, "missed": 0, "over": True}

    def history(self) -> dict[str, Any]:
        entries = [
            {"number": 5, "time_s": NOON - 90_000, "user": "-", "action": "start", "comment": "", "kept": True},
            {"number": 6, "time_s": NOON - 7200, "user": "anna", "action": "apply", "comment": "mail", "kept": True},
            {"number": 7, "time_s": NOON - 30, "user": "anna", "action": "apply", "comment": "game: protect auto"}
            | {"kept": not self.pending},
        ]
        return {"entries": entries, "current": 7, "pending": None}

    def machine(self) -> dict[str, Any]:
        return {
            "appliance": False,
            "ports": [
                {"name": "enp1s0", "mac": "00:25:90:ab:cd:10", "device": "0000:01:00.0", "use": "outside", "up": True}
                | {"heard": ["00:00:5e:00:01:01"], "others": 0},
                {"name": "enp2s0", "mac": "00:25:90:ab:cd:11", "device": "0000:02:00.0", "use": "inside", "up": True}
                | {"heard": [f"52:54:00:12:34:0{number}" for number in range(1, 5)], "others": 9},
                {"name": "enp3s0", "mac": "00:25:90:ab:cd:12", "device": "0000:03:00.0", "use": "", "up": False}
                | {"heard": [], "others": 0},
            ],
        }

    def proposals(self) -> list[dict[str, Any]]:
        return [
            {
                "name": "web-2",
                "addresses": ["192.0.2.40/31", "2001:db8:2::40"],
                "ports": ["80", "443"],
                "protect": "always",
            },
            {"name": "ssh", "addresses": ["192.0.2.44"], "ports": ["22"], "protect": "always"},
            {"name": "database", "addresses": ["192.0.2.45"], "ports": ["5432"], "protect": "always"},
        ]

    def configuration(self, of: str) -> str:
        return TEXT if of in ("file", "running", "7") else TEXT.replace("    protect: auto\n", "")

    def check(self, text: str) -> dict[str, Any]:
        if "alwys" in text:
            line = 1 + text[: text.index("alwys")].count("\n")
            problem = {"line": line, "column": 14, "key": "services.game.protect", "wrong": "alwys is none of these"}
            return {"problems": [problem | {"right": "always, auto or off"}], "restarts": []}
        return {"problems": [], "restarts": []}
