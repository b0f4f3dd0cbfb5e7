"""The plain-text status: one screen of 80 columns, for a terminal, a serial line, or a mail.

Owns the layout. A pure function of the reply of org.levee.Status; called by commands/status.py. Must not know where the
reply came from, nor any name of a counter that is not shown as a column.
"""

import textwrap
from collections.abc import Mapping

from appliance.report import QueueReport, ServiceReport, StatusReport

WIDTH = 80
MAX_SERVICES = 10
MAX_REASON_LINES = 4

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


def _services(services: Mapping[str, ServiceReport]) -> list[str]:
    """The busiest services, in the order of the configuration."""
    busiest = sorted(services, key=lambda name: services[name]["syn_received"], reverse=True)[:MAX_SERVICES]
    lines = [f"{'service':<{NAME_COLUMNS}}" + "".join(f"{title:>9}" for title, _ in COLUMNS)]
    for name, service in services.items():
        if name in busiest:
            label = name if service["protect"] != "off" else f"{name} (off)"
            if len(label) >= NAME_COLUMNS:
                label = f"{label[: NAME_COLUMNS - 2]}~"
            events = service["events"]
            lines.append(f"{label:<{NAME_COLUMNS}}" + "".join(f"{number(events.get(key, 0)):>9}" for _, key in COLUMNS))
    if len(services) > len(busiest):
        lines.append(f"and {len(services) - len(busiest)} more: levee status --json")
    return lines


def _reasons(drops: Mapping[str, int]) -> list[str]:
    counted = sorted(((count, name) for name, count in drops.items() if count), reverse=True)
    text = "  ".join(f"{name}\u00a0{number(count)}" for count, name in counted) or "nothing yet"
    return [line.replace("\u00a0", " ") for line in _wrapped("consumed", text, MAX_REASON_LINES)]


def _queues(queues: list[QueueReport]) -> list[str]:
    received = sum(queue["received"] for queue in queues)
    full = sum(queue["dropped_queue_full"] or 0 for queue in queues)
    lost = sum(queue["dropped_user"] or 0 for queue in queues)
    text = f"{len(queues)}, received {number(received)}, lost {number(full)} when full, {number(lost)} on the way"
    return _wrapped("queues", text)


def render(status: StatusReport) -> str:
    """The screen, with its line ends."""
    hold = status["hold"]
    lines = [
        (
            f"levee {status['version']}  {status['state']}  mode {status['mode']}  engine {status['engine']}"
            f"  up {duration(status['uptime_s'])}"
        ),
        *(line for problem in status["problems"] for line in _wrapped("problem", problem)),
        *_wrapped("engine", status["engine_reason"]),
        *_wrapped("steering", status["steering"]),
        f"{'flows':<10}{_share(**status['flows'])}",
        f"{'half-open':<10}{_share(**status['half_open'])}",
        f"{'held':<10}{_share(hold['bytes'], hold['capacity'])} bytes of early data",
        "",
        *_services(status["services"]),
        "",
        *_reasons(status["drops"]),
        f"{'passed':<10}{number(status['passed'])} untouched, {number(status['translated'])} translated",
        *_queues(status["queues"]),
    ]
    return "".join(f"{line}\n" for line in lines)
