"""synproxy lines of a FireHOL configuration.

Owns that syntax. Called by commands/import_.py; gives imported.Found. A pure function of the text: a FireHOL file is a
bash script, of which only plain assignments are understood, and nothing is executed. Source: firehol-synproxy(5),
firehol-params(5).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from appliance.imported import Found, Match, Options, read_addresses, read_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT_OPTIONS = "--sack-perm --timestamp --wscale 7 --mss 1460"  # FIREHOL_SYNPROXY_OPTIONS
KINDS = {"input": "input", "in": "input", "forward": "forward", "pass": "forward"}
FAMILIES: dict[str, tuple[Literal[4, 6], ...]] = {"4": (4,), "6": (6,), "46": (4, 6), "": (4, 6)}
SYNPROXY = re.compile(r"^(?:ipv(?P<prefix>46|4|6)\s+)?synproxy(?P<suffix>46|4|6)?\s")
ASSIGNMENT = re.compile(r"^(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)$")
VARIABLE = re.compile(r"\$(?:\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<plain>[A-Za-z_][A-Za-z0-9_]*))")
# Parameters with a value: which of them say what a service says, and the rest is noted.
TO_ADDRESSES = ("dst", "destination", "dst4", "dst6")
TO_PORTS = ("dport", "dports")
OUTSIDE, INSIDE = ("inface", "physin"), ("outface", "physout")
ACTIONS = ("accept", "dnat", "redirect", "action", "drop", "deny", "reject", "return", "tarpit")


def is_firehol(text: str) -> bool:
    """Whether a line of the text is a synproxy of FireHOL."""
    return any(SYNPROXY.match(line) for _, line in _lines(text))


def read(text: str) -> list[Found]:
    """Every synproxy line."""
    variables = {"FIREHOL_SYNPROXY_OPTIONS": DEFAULT_OPTIONS}
    found = []
    for number, line in _lines(text):
        if assigned := ASSIGNMENT.match(line):
            words = _words(assigned["value"])
            variables[assigned["name"]] = _expanded(words[0] if words else "", variables)
        elif proxy := SYNPROXY.match(line):
            families = FAMILIES[proxy["prefix"] or proxy["suffix"] or ""]
            words = _words(_expanded(line[proxy.end() :], variables))
            options = _options(variables["FIREHOL_SYNPROXY_OPTIONS"])
            found.append(Found(number, _match(words, families), options))
    return found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Commands with the line they begin in: continued lines joined, comments and indentation gone."""
    waiting, begun = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        begun = begun if waiting else number
        waiting += line
        if waiting.endswith("\\"):
            waiting = f"{waiting[:-1]} "
            continue
        if command := waiting.strip():
            yield begun, command
        waiting = ""


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:  # a quote that is not closed
        return text.split()


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """Plain variables replaced; others stay, and are no address then."""
    return VARIABLE.sub(lambda found: variables.get(found["braced"] or found["plain"], found.group()), text)


def _options(text: str) -> Options:
    words = text.split()
    values = dict(zip(words, [*words[1:], ""], strict=False))
    mss, wscale = values.get("--mss", ""), values.get("--wscale", "")
    return Options(
        mss=int(mss) if mss.isdecimal() else None,
        wscale=int(wscale) if wscale.isdecimal() else None,
        sack="--sack-perm" in values,
        timestamps="--timestamp" in values,
    )


def _match(words: list[str], families: tuple[Literal[4, 6], ...]) -> Match:
    kind = KINDS.get(words[0]) if words else None
    if kind is None:
        return Match(families, lost=("it is neither input nor forward",))
    match = Match(families)
    at = 1
    while at < len(words) and words[at] not in ACTIONS:
        name = words[at]
        negated = words[at + 1 : at + 2] == ["not"]
        value = words[at + 1 + negated] if at + 1 + negated < len(words) else ""
        match = _parameter(match, name, value, negated=negated)
        at += 2 + negated
    there = words[at : at + 1] != ["dnat"]
    return replace(_action(match, words[at:]), host=kind == "input" and there)


def _parameter(match: Match, name: str, value: str, *, negated: bool) -> Match:
    items = [item for item in re.split(r"[\s,]+", value) if item]
    said = f"{name} {'not ' if negated else ''}{value}".strip()
    if name in (*TO_ADDRESSES, *TO_PORTS) and negated:
        return replace(match, lost=(*match.lost, f"{said}: all but these; write the list of those that are meant"))
    if name in TO_ADDRESSES:
        spans, lost = read_addresses(items)
        families = tuple(family for family in match.families if any(span.family == family for span in spans))
        return replace(match, addresses=spans, families=families, lost=(*match.lost, *lost))
    if name in TO_PORTS:
        ports, lost = read_ports(items)
        return replace(match, ports=ports, lost=(*match.lost, *lost))
    if name in OUTSIDE and not negated:
        return replace(match, outside=(*match.outside, *items))
    if name in INSIDE and not negated:
        return replace(match, inside=(*match.inside, *items))
    if name in ("proto", "protocol"):
        return match if value == "tcp" and not negated else replace(match, lost=(*match.lost, f"{said}: not about TCP"))
    return replace(match, notes=(*match.notes, f"{said} is not carried over"))


def _action(match: Match, words: list[str]) -> Match:
    """What became of a client that was proven."""
    if not words:
        return replace(match, notes=(*match.notes, "the line has no action"))
    action, rest = words[0], words[1:]
    if rest[:1] == ["to"]:
        rest = rest[1:]
    said, notes = rest[0] if rest else "", []
    if action == "dnat":
        notes.append(f"dnat to {said}: Levee does not rewrite destinations; keep that rule, without synproxy")
    elif action == "redirect":
        notes.append(f"redirect to {said}: Levee does not rewrite ports; keep that rule, without synproxy")
    elif action == "action":
        notes.append(f"action {said} is not carried over: proven clients are let through")
    elif action != "accept":
        notes.append(f"{action}: proven clients were not let through; with Levee they are")
    options = rest[1:] if action in ("dnat", "redirect", "action") else rest
    if options:
        notes.append(f"{shlex.join(options)} is not carried over")
    return replace(match, notes=(*match.notes, *notes))
