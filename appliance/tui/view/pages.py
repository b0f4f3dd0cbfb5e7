"""The pages: from what was heard of the daemon to lines.

Owns what each page says. Pure functions of a snapshot, of what was asked for, and of the room there is. A line with a
key can be chosen; what that opens is the caller's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from appliance.screen import duration, number
from appliance.tui.view import words
from appliance.tui.view.frame import BOX, EVERYWHERE, KEYS, PAGES, PENDING
from appliance.tui.view.graph import SCALE_COLUMNS, graph
from appliance.tui.view.line import Line, cut, line, side_by_side, titled, wrapped
from appliance.tui.view.rates import HOUR_S, MINUTE_S, SERIES

if TYPE_CHECKING:
    from appliance.report import ServiceReport, StatusReport
    from appliance.tui.view.line import Role
    from appliance.tui.view.snapshot import Asked, Reply, Snapshot

Page = Callable[["Snapshot", "Asked", int, int], list[Line]]
GRAPH_ROWS = (3, 14)  # at least, at most
SERVICE_LINES = 5  # of the overview: a heading and some
NUMBERS = (("SYNs", "syn_received"), ("valid", "cookie_valid"), ("invalid", "cookie_invalid"), ("opened", "opened"))


def overview(snapshot: Snapshot, asked: Asked, width: int, height: int) -> list[Line]:
    """Four graphs, what is wrong, and the services with the most drops."""
    status = snapshot.status
    if status is None:
        return [Line(), line(" The daemon does not answer.", "bad"), line(" On this machine: systemctl status levee")]
    wrong = _trouble(status, width, watching=asked.watching)
    rows = (height - len(wrong) - SERVICE_LINES) // 2 - 2
    rows = max(GRAPH_ROWS[0], min(GRAPH_ROWS[1], rows))
    half = width // 2
    span_s = HOUR_S if asked.hour else MINUTE_S
    columns = half - SCALE_COLUMNS - 2
    columns = max(one for one in (10, 20, 30, 60) if one <= columns)  # as many seconds, or minutes, in each column
    drawn = [
        graph(name, snapshot.meter.latest(name), snapshot.meter.series(name, span_s, columns), rows) for name in SERIES
    ]
    what = "the last hour" if asked.hour else "the last minute"
    lines = [*side_by_side(drawn[0], drawn[1], half), *side_by_side(drawn[2], drawn[3], half)]
    lines += [Line(((f"      {what}, h changes it", "dim"),)), *wrong, *_services(status, snapshot.reasons, width)]
    return lines


def trouble(snapshot: Snapshot, width: int) -> list[Line]:
    """What is wrong just now: nothing, or a few lines."""
    return _trouble(snapshot.status, width) if snapshot.status else [line(f" {snapshot.error}", "bad")]


def _trouble(status: StatusReport, width: int, *, watching: bool = False) -> list[Line]:
    lines = []
    if status["state"] == "BYPASS":
        lines.append(line(f" Bypass is on: nobody is protected.{'' if watching else ' b ends it.'}", "bad"))
    for name, attack in sorted(status["attacks"].items(), key=lambda item: -item[1]["now_per_s"])[:2]:
        now, most = number(attack["now_per_s"]), number(attack["peak_per_s"])
        text = f" Attack on {name} for {duration(attack['age_s'])}: {now} unfinished SYNs a second, at most {most}"
        lines.append(line(cut(text, width), "bad", name))
    lines += [one for problem in status["problems"][:3] for one in wrapped(problem, width, "bad", 2)]
    if status["configuration"]["edited"]:
        lines.append(line(f" The file is not what is in force{'' if watching else ': 7, then d'}", "warn"))
    return lines


def services(snapshot: Snapshot, asked: Asked, width: int, height: int) -> list[Line]:  # noqa: ARG001
    """All services, those with the most drops first."""
    return _services(snapshot.status, snapshot.reasons, width) if snapshot.status else []


def _services(status: StatusReport, reasons: Mapping[str, str], width: int) -> list[Line]:
    name_columns = max(16, width - 10 * (len(NUMBERS) + 2))
    head = f" {'service':<{name_columns - 1}}{'state':<10}" + "".join(f"{title:>10}" for title, _ in NUMBERS)
    lines = [line(f"{head}{'dropped':>10}", "title")]

    def dropped(one: ServiceReport) -> int:
        return sum(count for reason, count in one["drops"].items() if words.is_loss(reason, reasons))

    for name, one in sorted(status["services"].items(), key=lambda item: (-dropped(item[1]), item[0])):
        word, role = words.short_state(one, attacked=name in status["attacks"])
        numbers = "".join(f"{number(one['events'].get(key, 0)):>10}" for _, key in NUMBERS)
        shown = f" {cut(name, name_columns - 2):<{name_columns - 1}}"
        lines.append(
            Line(((shown, "text"), (f"{word:<10}", role), (f"{numbers}{number(dropped(one)):>10}", "text")), name)
        )
    return lines


def service(name: str, snapshot: Snapshot, width: int) -> list[Line]:
    """One service: why it is in its state, its numbers, its drops in plain words, its servers and attacks."""
    status = snapshot.status
    one = status["services"].get(name) if status else None
    if status is None or one is None:
        return [line(f" There is no service {name} any more.", "warn")]
    word, role = words.short_state(one, attacked=name in status["attacks"])
    lines = [Line(((f" {name}  ", "title"), (word, role))), *wrapped(words.why(name, one, status), width), Line()]
    events = one["events"]
    lines += [
        titled(
            " clients", f"{number(one['syn_received'])} SYNs, {number(one['cookie_valid'])} completed the handshake"
        ),
        titled(
            " servers",
            f"{number(one['opened'])} connections opened, {number(one['refused'])} refused, "
            f"{number(one['timed_out'])} not answered",
        ),
        titled(
            " ended", f"{number(events.get('closed', 0))} closed, {number(events.get('expired', 0))} were idle too long"
        ),
        Line(),
        line(" Packets that were not forwarded", "title"),
    ]
    lines += _drops(one["drops"], snapshot.reasons, width) or [line("  none", "dim")]
    lines += [Line(), line(" Servers that were heard", "title")]
    lines += [_backend(found, width) for found in snapshot.backends if found["service"] == name] or [
        line("  none", "dim")
    ]
    lines += [Line(), line(" Attacks", "title")]
    lines += [_event(found, width) for found in reversed(snapshot.events) if found["service"] == name] or [
        line("  none", "dim")
    ]
    return lines


def _drops(drops: Mapping[str, int], reasons: Mapping[str, str], width: int) -> list[Line]:
    counted = sorted(((count, name) for name, count in drops.items() if count), reverse=True)
    losses = [(count, name) for count, name in counted if words.is_loss(name, reasons)]
    others = [(count, name) for count, name in counted if not words.is_loss(name, reasons)]
    return [
        Line(((f" {number(count):>8}  ", "warn" if words.is_loss(name, reasons) else "dim"), (text, "text")))
        for count, name in [*losses, *others]
        for text in [cut(reasons.get(name, name), width - 12)]
    ]


def _clock(time_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))


def _event(event: Reply, width: int, key: str | None = None) -> Line:
    ended = "end not seen" if event["cut"] else "goes on" if event["ended_s"] is None else duration(event["lasted_s"])
    role: Role = "bad" if event["ended_s"] is None and not event["cut"] else "text"
    what = f"{event['value'].replace('_', ' ').replace('per s', 'a second')} {number(event['measured'])}"
    text = f"{what}, limit {number(event['limit'])}, at most {number(event['peak_per_s'])}/s"
    head = f" {_clock(event['started_s'])}  {ended:<13}"
    return Line(((head, role), (cut(f"{event['service']}: {text}" if key else text, width - len(head)), "text")), key)


def events(snapshot: Snapshot, asked: Asked, width: int, height: int) -> list[Line]:  # noqa: ARG001
    """The attacks there were, the latest first."""
    if not snapshot.events:
        return [line(" No attack has been seen.", "dim")]
    head = line(f" {'began':<21}{'lasted':<13}what crossed which limit", "title")
    return [head, *(_event(one, width, one["service"]) for one in reversed(snapshot.events))]


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def flows(snapshot: Snapshot, asked: Asked, width: int, height: int) -> list[Line]:  # noqa: ARG001
    """Connections, as many as were asked for."""
    chosen = [f"of {asked.client}" if asked.client else "", f"to service {asked.service}" if asked.service else ""]
    what = " ".join(one for one in chosen if one) or "all"
    column = max(22, (width - 34) // 2)
    lines = [
        line(f" Connections, {what}; the first {len(snapshot.flows)}", "dim"),
        line(f" {'client':<{column}}{'server':<{column}}{'state':<13}{'age':>10}{'idle':>9}", "title"),
    ]
    for one in snapshot.flows:
        client = cut(_end(one["client"], one["client_port"]), column - 1)
        server = cut(_end(one["server"], one["server_port"]), column - 1)
        times = f"{duration(one['age_ms'] // 1000):>10}{one['idle_ms'] // 1000:>7} s"
        lines.append(line(f" {client:<{column}}{server:<{column}}{one['state']:<13}{times}", "text", one["client"]))
    return lines


def blocked(snapshot: Snapshot, asked: Asked, width: int, height: int) -> list[Line]:  # noqa: ARG001
    """Sources that are blocked, or never to be."""
    if not snapshot.blocked:
        return [line(" No source is blocked.", "dim")]
    column = 45 if width >= 100 else 30
    lines = [line(f" {'what':<8}{'source':<{column}}{'until':<21}comment", "title")]
    for one in snapshot.blocked:
        until = "for good" if one["until_s"] is None else _clock(one["until_s"])
        role: Role = "bad" if one["action"] == "block" else "good"
        rest = f"{cut(one['prefix'], column - 1):<{column}}{until:<21}"
        room = width - 9 - len(rest)
        lines.append(Line(((f" {one['action']:<8}", role), (rest + cut(one["comment"], room), "text")), one["prefix"]))
    return lines


def _backend(one: Reply, width: int, *, with_service: bool = False) -> Line:
    known = one["known"]
    wscale = "none" if one["wscale"] is None else str(one["wscale"])
    options = [
        f"mss {one['mss']}",
        f"ws {wscale if 'wscale' in known else '?'}",
        *((name if one[key] else f"no {name}") if key in known else f"{name}?" for name, key in SEEN),
    ]
    column = _server_columns(width)
    server = cut(_end(one["address"], one["port"]), column - 1)
    service_name = f"{cut(one['service'] or '-', SERVICE_COLUMNS - 1):<{SERVICE_COLUMNS}}" if with_service else ""
    head = f" {server:<{column}}{service_name}"
    text = f"{', '.join(options)}, {duration(one['age_s'])}{' pinned' if one['pinned'] else ''}"
    key = (one["service"] or None) if with_service else None
    return Line(((head, "text"), (cut(text, width - len(head)), "dim")), key)


SEEN = (("sack", "sack"), ("ts", "timestamps"), ("ecn", "ecn"))
SERVICE_COLUMNS = 10


def _server_columns(width: int) -> int:
    return 24 if width < 100 else 45


def backends(snapshot: Snapshot, asked: Asked, width: int, height: int) -> list[Line]:  # noqa: ARG001
    """What servers were heard to announce. `?`: no client has asked it for that yet."""
    if not snapshot.backends:
        return [line(" No server has been heard yet.", "dim")]
    text = f" {'server':<{_server_columns(width)}}{'service':<{SERVICE_COLUMNS}}"
    head = line(f"{text}announced, how long ago (?: not asked)", "title")
    return [head, *(_backend(one, width, with_service=True) for one in snapshot.backends)]


def configuration(snapshot: Snapshot, asked: Asked, width: int, height: int) -> list[Line]:  # noqa: ARG001
    """What is in force, whether the file says something else, and what was in force before."""
    status = snapshot.status
    if status is None:
        return []
    here = status["configuration"]
    lines = [line(f" Configuration {here['number'] or '(not recorded)'} is in force.")]
    if here["edited"]:
        lines.append(line(" The file says something else: d shows what, and applies it.", "warn"))
    if here["restarting"]:
        lines.append(line(" The parts are being made anew.", "warn"))
    lines += [Line(), line(f"    {'no':>4}  {'when':<21}{'what':<10}{'by':<17}comment", "title")]
    pending = here["pending"]
    for entry in reversed(snapshot.history.get("entries", ())):
        mark = "*" if entry["number"] == snapshot.history.get("current") else " "
        note = " (on trial)" if pending and pending["number"] == entry["number"] else ""
        note = note or ("" if entry["kept"] or entry["action"] == "aside" else " (taken back)")
        text = (
            f"  {mark} {entry['number']:>4}  {_clock(entry['time_s']):<21}{entry['action']:<10}"
            f"{cut(entry['user'], 16):<17}{entry['comment']}{note}"
        )
        lines.append(line(cut(text, width), "good" if mark == "*" else "text", str(entry["number"])))
    return lines


def differences(text: str, empty: str) -> list[Line]:
    """A unified diff, with its colours."""
    if not text:
        return [line(f" {empty}", "dim")]
    return [line(one, _of_diff(one)) for one in text.splitlines()]


def _of_diff(one: str) -> Role:
    if one.startswith(("---", "+++", "@@")):
        return "dim"
    return "good" if one.startswith("+") else "bad" if one.startswith("-") else "text"


def help_page() -> list[Line]:
    """Every key, and the command that does the same."""
    lines = [line(" Every key, and the command for it", "title"), Line()]
    lines += [Line(((f" {n:<8}", "key"), (f"{title}", "text"))) for n, _, title in PAGES]
    shown = set()
    for keys in (EVERYWHERE, PENDING, *KEYS.values(), BOX):
        for one in keys:
            if one in shown:
                continue
            shown.add(one)
            lines.append(Line(((f" {one.key:<8}", "key"), (f"{one.what:<26}", "text"), (one.command, "dim"))))
    lines += [
        Line(),
        line(" Arrows, Page up and down, Home and End move; Esc goes back.", "dim"),
        line(" Leaving the interface changes nothing: the box goes on, a change on trial too.", "dim"),
    ]
    return lines


BY_NAME: dict[str, Page] = {
    "overview": overview,
    "services": services,
    "events": events,
    "flows": flows,
    "blocked": blocked,
    "backends": backends,
    "configuration": configuration,
}
