"""The plain-text status: one screen of 80 columns, for a terminal, a serial line, or a mail.

Owns the layout. A pure function of the reply of org.levee.Status; called by commands/status.py. Must not know where the
reply came from, nor any name of a counter that is not shown as a column.
"""

import textwrap
from collections.abc import Mapping

from appliance.report import AttackReport, ConfigurationReport, QueueReport, ServiceReport, StatusReport

WIDTH = 80
MAX_SERVICES = 10
MAX_REASON_LINES = 4
MAX_ATTACKS = 3

COLUMNS = (
    ("SYNs", "syn_received"),
    ("SYN-ACKs", "synack_sent"),
    ("valid", "cookie_valid"),
    ("invalid", "cookie_invalid"),
    ("opened", "opened"),
    ("refused", "refused"),
    ("silent", "timed_out"),
)
NAME_COLUMNS = WIDTH - 9 * len(COLUMNS)


def number(value: int) -> str:
    """At most 7 characters: 12345, 1.234M, 98.76G."""
    if value < 100_000:
        return str(value)
    scaled, unit = float(value), ""
    for unit in "kMGTPE":  # noqa: B007 - the last unit reached is the one to print
        scaled /= 1000
        if scaled < 1000:
            break
    digits = 3 if scaled < 10 else 2 if scaled < 100 else 1
    return f"{scaled:.{digits}f}{unit}"


def duration(seconds: int) -> str:
    """`3 d 04:05:06`, or without days."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{f'{days} d ' if days else ''}{hour:02}:{minute:02}:{second:02}"


def _wrapped(label: str, text: str, lines: int = 3) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"{label:<10}",
        subsequent_indent=" " * 10,
        max_lines=lines,
        placeholder=" ...",
    )


def _share(used: int, capacity: int) -> str:
    return f"{number(used)} of {number(capacity)} ({100 * used // capacity if capacity else 0} %)"


def _grown(now: Mapping[str, int], before: Mapping[str, int], elapsed_s: float) -> dict[str, int]:
    """Counters a second. Those that went back belong to another daemon, and begin from 0."""
    return {
        name: round((value - old if value >= (old := before.get(name, 0)) else value) / elapsed_s)
        for name, value in now.items()
    }


def rates(now: StatusReport, before: StatusReport, elapsed_s: float) -> StatusReport:
    """The status with everything that counts turned to what was counted a second since `before`."""
    elapsed_s = max(elapsed_s, 1e-3)
    found = now.copy()
    found["services"] = {}
    for name, service in now["services"].items():
        old = before["services"].get(name)
        changed = service.copy()
        changed["events"] = _grown(service["events"], old["events"] if old else {}, elapsed_s)
        changed["drops"] = _grown(service["drops"], old["drops"] if old else {}, elapsed_s)
        found["services"][name] = changed
    found["drops"] = _grown(now["drops"], before["drops"], elapsed_s)
    packets = _grown(_packets(now), _packets(before), elapsed_s)
    found["passed"], found["translated"] = packets["passed"], packets["translated"]
    return found


def _packets(status: StatusReport) -> dict[str, int]:
    return {"passed": status["passed"], "translated": status["translated"]}


def _services(services: Mapping[str, ServiceReport], title: str) -> list[str]:
    """The busiest services, in the order of the configuration."""
    busiest = set(
        sorted(services, key=lambda name: services[name]["events"].get("syn_received", 0), reverse=True)[:MAX_SERVICES]
    )
    lines = [f"{title:<{NAME_COLUMNS}}" + "".join(f"{column:>9}" for column, _ in COLUMNS)]
    for name, service in services.items():
        if name in busiest:
            label = name if service["protected"] else f"{name} ({service['protect']})"
            if len(label) >= NAME_COLUMNS:
                label = f"{label[: NAME_COLUMNS - 2]}~"
            events = service["events"]
            lines.append(f"{label:<{NAME_COLUMNS}}" + "".join(f"{number(events.get(key, 0)):>9}" for _, key in COLUMNS))
    if len(services) > len(busiest):
        lines.append(f"and {len(services) - len(busiest)} more: levee status --json")
    return lines


def _reasons(drops: Mapping[str, int]) -> list[str]:
    counted = sorted(((count, name) for name, count in drops.items() if count), reverse=True)
    text = "  ".join(f"{name}\u00a0{number(count)}" for count, name in counted) or "nothing"
    return [line.replace("\u00a0", " ") for line in _wrapped("consumed", text, MAX_REASON_LINES)]


def _queues(queues: list[QueueReport]) -> list[str]:
    received = sum(queue["received"] for queue in queues)
    full = sum(queue["dropped_queue_full"] or 0 for queue in queues)
    lost = sum(queue["dropped_user"] or 0 for queue in queues)
    text = f"{len(queues)}, received {number(received)}, lost {number(full)} when full, {number(lost)} on the way"
    return _wrapped("queues", text)


def _attack(name: str, attack: AttackReport) -> list[str]:
    text = (
        f"{name} for {duration(attack['age_s'])}: {number(attack['now_per_s'])} unfinished SYNs a second, "
        f"at most {number(attack['peak_per_s'])}"
    )
    return _wrapped("attack", text)


def _attacks(attacks: Mapping[str, AttackReport]) -> list[str]:
    """The worst of them."""
    worst = sorted(attacks, key=lambda name: attacks[name]["now_per_s"], reverse=True)
    lines = [line for name in worst[:MAX_ATTACKS] for line in _attack(name, attacks[name])]
    return lines + ([f"{'':<10}and {len(worst) - MAX_ATTACKS} more"] if len(worst) > MAX_ATTACKS else [])


def _bypass(status: StatusReport) -> list[str]:
    text = "nobody is protected, new connections go straight to the servers, until: levee bypass off"
    return _wrapped("bypass", text) if status["state"] == "BYPASS" else []


def _configuration(found: ConfigurationReport) -> list[str]:
    """Nothing while all is settled."""
    lines = []
    if pending := found["pending"]:
        lines += _wrapped(
            "on trial",
            f"change {pending['number']} by {pending['user']}: back to {pending['back_to']} in {pending['left_s']} s, "
            "unless: levee confirm",
        )
    if found["edited"]:
        lines += _wrapped("edited", "the file is not what is in force: levee diff, levee apply")
    return lines


def render(status: StatusReport, since: tuple[StatusReport, float] | None = None) -> str:
    """The screen, with its line ends. `since`: an earlier status and the seconds after it: then counters are rates."""
    if since is not None:
        status = rates(status, *since)
    hold = status["hold"]
    lines = [
        (
            f"levee {status['version']}  {status['state']}  mode {status['mode']}  engine {status['engine']}"
            f"  up {duration(status['uptime_s'])}"
        ),
        *_bypass(status),
        *(line for problem in status["problems"] for line in _wrapped("problem", problem)),
        *_attacks(status["attacks"]),
        *_configuration(status["configuration"]),
        *_wrapped("engine", status["engine_reason"]),
        *_wrapped("steering", status["steering"]),
        f"{'flows':<10}{_share(**status['flows'])}",
        f"{'half-open':<10}{_share(**status['half_open'])}",
        *([f"{'sources':<10}{_share(**status['sources'])}"] if status["sources"]["used"] else []),
        f"{'held':<10}{_share(hold['bytes'], hold['capacity'])} bytes of early data",
        "",
        *_services(status["services"], "service" if since is None else "a second"),
        "",
        *_reasons(status["drops"]),
        f"{'passed':<10}{number(status['passed'])} untouched, {number(status['translated'])} translated",
        *_queues(status["queues"]),
    ]
    return "".join(f"{line}\n" for line in lines)
