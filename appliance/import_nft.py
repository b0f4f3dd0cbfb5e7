"""synproxy rules in an nftables ruleset: the output of `nft list ruleset`, or a file of it.

Owns that syntax. Called by commands/import_.py; gives imported.Found. A pure function of the text. Understood are
tables, chains, sets, maps, `synproxy` objects and `define`; a rule's conditions on address, port and interface; the
statement with its options, an object's name, or a map. Everything else in such a rule becomes a note. Source: nft(8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from appliance.imported import Found, Match, Options, read_addresses, read_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_JUMPS = 8
MAX_DEPTH = 16
TOKEN = re.compile(r"""#[^\n]*|\\\n|"[^"\n]*"|[{};,\n]|!=|==|=|[^\s{};,"=!#]+|.""")
FAMILIES: dict[str, tuple[Literal[4, 6], ...]] = {"ip": (4,), "ip6": (6,)}
# What such a rule says because of connection tracking and syntax, and a service need not say.
TRACKING = {
    ("ct", "state"),
    ("tcp", "flags"),
    ("meta", "l4proto"),
    ("ip", "protocol"),
    ("ip6", "nexthdr"),
    ("meta", "nfproto"),
}
TO_ADDRESS = {("ip", "daddr"), ("ip6", "daddr")}
TO_PORT = {("tcp", "dport"), ("th", "dport")}
OUTSIDE, INSIDE = ("iif", "iifname"), ("oif", "oifname")
STATEMENTS = {"counter": 0, "comment": 1, "accept": 0, "drop": 0, "return": 0, "notrack": 0, "continue": 0}


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    line: int


@dataclass
class _Block:
    """What stands between braces: words, and blocks within it."""

    line: int
    items: list[_Word | _Block] = field(default_factory=list)


@dataclass
class _Rule:
    line: int
    table: str
    chain: str
    match: Match
    jumps: list[tuple[str, Match]] = field(default_factory=list)  # chain, and what a verdict map adds
    options: list[tuple[str, Match, Options]] = field(default_factory=list)  # name, what it adds, the options


@dataclass
class _Ruleset:
    """What can be named: by table and name, variables by name alone."""

    variables: dict[str, list[str]] = field(default_factory=dict)
    sets: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    proxies: dict[tuple[str, str], Options] = field(default_factory=dict)
    hooks: dict[tuple[str, str], str] = field(default_factory=dict)
    rules: list[_Rule] = field(default_factory=list)


def is_nft(text: str) -> bool:
    """Whether this is a ruleset."""
    return bool(
        re.search(r"^\s*(?:table|add\s+table|add\s+rule)\s+(?:ip6?|inet|bridge|netdev|\w+)\b", text, re.MULTILINE)
    )


def read(text: str) -> list[Found]:
    """Every synproxy statement, once for each way that leads to its chain and each entry of its map."""
    ruleset = _Ruleset()
    _read_top(_tree(text), ruleset)
    found = []
    for rule in ruleset.rules:
        for outer in _ways(ruleset, rule, MAX_JUMPS) if rule.options else ():
            for name, more, options in rule.options:
                found.append(Found(rule.line, more.within(rule.match.within(outer)), options, name))
    return found


# ---- text to words and blocks ----


def _tree(text: str) -> _Block:
    """Newlines outside braces of values stay, as `;`: they end a rule."""
    root = _Block(1)
    stack, line = [root], 1
    for part in TOKEN.findall(text):
        if part == "{" and len(stack) < MAX_DEPTH:
            block = _Block(line)
            stack[-1].items.append(block)
            stack.append(block)
        elif part == "}" and len(stack) > 1:
            stack.pop()
        elif part == "\n":
            stack[-1].items.append(_Word(";", line))
        elif part.strip() and not part.startswith(("#", "\\")):
            stack[-1].items.append(_Word(part.strip('"'), line))
        line += part.count("\n")
    return root


def _statements(block: _Block) -> Iterator[list[_Word | _Block]]:
    """What `;` and line ends separate, and what a block that is no value ends."""
    waiting: list[_Word | _Block] = []
    for item in block.items:
        if isinstance(item, _Word) and item.text == ";":
            if waiting:
                yield waiting
            waiting = []
            continue
        waiting.append(item)
        if (
            isinstance(item, _Block)
            and _text(waiting[0]) in ("table", "chain", "set", "map", "synproxy")
            and len(waiting) <= 4
        ):
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _text(item: _Word | _Block) -> str:
    return item.text if isinstance(item, _Word) else "{"


def _elements(block: _Block) -> list[str]:
    """The elements of a set, each as its words; `timeout 1h` and the like behind an element are dropped."""
    found: list[str] = []
    waiting: list[str] = []
    for item in [*block.items, _Word(",", 0)]:
        text = _text(item)
        if text == ",":
            if waiting:
                found.append(" ".join(waiting))
            waiting = []
        elif text not in (";", "{"):
            waiting.append(text)
    return [re.split(r"\s+(?:timeout|expires|comment|counter)\b", one)[0] for one in found]


# ---- the objects of a ruleset ----


def _read_top(root: _Block, ruleset: _Ruleset) -> None:
    for statement in _statements(root):
        words = [_text(item) for item in statement]
        if words[0] == "define" and len(words) > 3:
            last = statement[-1]
            ruleset.variables[words[1]] = _elements(last) if isinstance(last, _Block) else words[3:4]
    for statement in _statements(root):
        words = [_text(item) for item in statement]
        last = statement[-1]
        if words[0] == "table" and isinstance(last, _Block):
            table = words[-2]
            family = words[1] if len(words) > 3 else "ip"
            _read_table(last, table, FAMILIES.get(family, (4, 6)), ruleset)
        elif words[:2] == ["add", "chain"] and isinstance(last, _Block) and len(words) > 5:
            inner = [_text(item) for item in last.items]
            ruleset.hooks[words[3], words[4]] = inner[inner.index("hook") + 1] if "hook" in inner[:-1] else ""
        elif words[:2] in (["add", "rule"], ["insert", "rule"]) and len(words) > 5:
            families = FAMILIES.get(words[2], (4, 6))
            ruleset.rules.append(_rule(statement[5:], words[3], words[4], families, ruleset))


def _read_table(block: _Block, table: str, families: tuple[Literal[4, 6], ...], ruleset: _Ruleset) -> None:
    statements = [one for one in _statements(block) if len(one) > 2 and isinstance(one[-1], _Block)]
    chains = []
    for statement in statements:
        kind, name, inner = _text(statement[0]), _text(statement[1]), statement[-1]
        if not isinstance(inner, _Block):
            continue
        if kind in ("set", "map"):
            lists = [item for item in inner.items if isinstance(item, _Block)]
            ruleset.sets[table, name] = _elements(lists[0]) if lists else []
        elif kind == "synproxy":
            ruleset.proxies[table, name] = _options([_text(item) for item in inner.items])
        elif kind == "chain":
            chains.append((name, inner))
    for name, inner in chains:
        for statement in _statements(inner):
            words = [_text(item) for item in statement]
            if words[0] == "type":
                ruleset.hooks[table, name] = words[words.index("hook") + 1] if "hook" in words[:-1] else ""
            elif words[0] != "policy":
                ruleset.rules.append(_rule(statement, table, name, families, ruleset))


def _options(words: list[str]) -> Options:
    values = dict(zip(words, [*words[1:], ""], strict=False))
    mss, wscale = values.get("mss", ""), values.get("wscale", "")
    return Options(
        mss=int(mss) if mss.isdecimal() else None,
        wscale=int(wscale) if wscale.isdecimal() else None,
        sack="sack-perm" in values,
        timestamps="timestamp" in values,
    )


def _ways(ruleset: _Ruleset, rule: _Rule, jumps: int) -> list[Match]:
    """What the packets of the rule's chain went through before."""
    hook = ruleset.hooks.get((rule.table, rule.chain))
    if hook is not None:
        return [Match(host=hook == "input")]
    ways: list[Match] = []
    for one in ruleset.rules:
        for chain, more in one.jumps if jumps else ():
            if (one.table, chain) == (rule.table, rule.chain):
                ways += [more.within(one.match.within(outer)) for outer in _ways(ruleset, one, jumps - 1)]
    return ways or [Match(lost=(f"nothing that is understood here leads to its chain {rule.chain}",))]


# ---- one rule ----


class _Reader:
    """The words of a rule, taken from the front."""

    def __init__(self, items: list[_Word | _Block], table: str, ruleset: _Ruleset) -> None:
        self._items = items
        self._table = table
        self._ruleset = ruleset
        self._at = 0

    def look(self, ahead: int = 0) -> str:
        """A word without taking it; nothing behind the end."""
        return _text(self._items[self._at + ahead]) if self._at + ahead < len(self._items) else ""

    def take(self) -> str:
        """The next word."""
        self._at += 1
        return self.look(-1)

    def value(self) -> list[str]:
        """What a condition compares with: a list in braces, a set, a variable, or one word."""
        item = self._items[self._at] if self._at < len(self._items) else _Word("", 0)
        self._at += 1
        if isinstance(item, _Block):
            return [value for element in _elements(item) for value in self._named(element)]
        return self._named(item.text)

    def _named(self, text: str) -> list[str]:
        if text.startswith("@"):
            return self._ruleset.sets.get((self._table, text[1:]), [text])
        if text.startswith("$"):
            return self._ruleset.variables.get(text[1:], [text])
        return [text]


def _rule(
    items: list[_Word | _Block], table: str, chain: str, families: tuple[Literal[4, 6], ...], ruleset: _Ruleset
) -> _Rule:
    reader = _Reader(items, table, ruleset)
    rule = _Rule(items[0].line, table, chain, Match(families))
    while word := reader.look():
        if word == "synproxy":
            reader.take()
            _proxy(rule, reader, ruleset)
            break
        if word in ("jump", "goto"):
            reader.take()
            rule.jumps.append((reader.take(), Match()))
        else:
            _condition(rule, reader)
    return rule


def _condition(rule: _Rule, reader: _Reader) -> None:
    """One condition or statement; what it says is added to the rule's match."""
    first = reader.take()
    if first in STATEMENTS:
        if first == "counter" and reader.look() == "packets":
            for _ in range(4):
                reader.take()
        for _ in range(STATEMENTS[first]):
            reader.take()
        return
    pair = (first, reader.look())
    if first in (*OUTSIDE, *INSIDE):
        subject, key = first, first
    else:
        subject, key = f"{first} {reader.take()}", ""
    joined = reader.look() == "."
    if joined:
        reader.take()
        joined = (reader.take(), reader.take()) in TO_PORT and pair in TO_ADDRESS
        subject += " . ..."
    negated = reader.look() == "!="
    if reader.look() in ("!=", "=="):
        reader.take()
    if reader.look() == "vmap":
        reader.take()
        _verdicts(rule, subject, pair, reader.value())
        return
    if pair in TRACKING:
        _skip(reader)
        return
    rule.match = _said(rule.match, subject, key, pair, reader.value(), joined=joined, negated=negated)


def _verdicts(rule: _Rule, subject: str, pair: tuple[str, str], elements: list[str]) -> None:
    """A verdict map: each of its jumps is a way of its own."""
    for element in elements:
        value, _, verdict = element.partition(" : ")
        action, _, chain = verdict.strip().partition(" ")
        if action in ("jump", "goto"):
            more = _said(Match(), subject, pair[0], pair, [value.strip()], joined=False, negated=False)
            rule.jumps.append((chain.strip(), more))


def _skip(reader: _Reader) -> None:
    """The value of a condition that says nothing here: `invalid,untracked`, `syn / fin,syn`, `& (fin | syn) == syn`."""
    reader.take()
    while reader.look() in (",", "/", "|", "&", "=="):
        reader.take()
        reader.take()


def _said(
    match: Match, subject: str, key: str, pair: tuple[str, str], values: list[str], *, joined: bool, negated: bool
) -> Match:
    said = f"{subject} {'!= ' if negated else ''}{', '.join(values)}"
    if key in OUTSIDE and not negated:
        return replace(match, outside=(*match.outside, *values))
    if key in INSIDE and not negated:
        return replace(match, inside=(*match.inside, *values))
    if negated and (pair in TO_ADDRESS or pair in TO_PORT):
        return replace(match, lost=(*match.lost, f"{said}: all but these; write the list of those that are meant"))
    if joined:
        pairs = [value.split(" . ") for value in values]
        values = list(dict.fromkeys(one[0] for one in pairs))
        ports, lost = read_ports(dict.fromkeys(one[1] for one in pairs if len(one) == 2))
        note = "each address has each of the ports now; the set had pairs"
        notes = (note,) if len(values) * len({one[-1] for one in pairs}) != len(pairs) else ()
        match = replace(match, ports=ports, lost=(*match.lost, *lost), notes=(*match.notes, *notes))
    if pair in TO_ADDRESS:
        spans, lost = read_addresses(values)
        families = tuple(one for one in match.families if one == (4 if pair[0] == "ip" else 6))
        return replace(match, addresses=spans, families=families, lost=(*match.lost, *lost))
    if pair in TO_PORT:
        ports, lost = read_ports(values)
        return replace(match, ports=ports, lost=(*match.lost, *lost))
    return replace(match, notes=(*match.notes, f"{said} is not carried over"))


def _proxy(rule: _Rule, reader: _Reader, ruleset: _Ruleset) -> None:
    """The statement: its own options, an object's name, or a map from addresses to names."""
    if reader.look() != "name":
        words = []
        while reader.look() in ("mss", "wscale", "timestamp", "sack-perm"):
            words.append(reader.take())
            if words[-1] in ("mss", "wscale"):
                words.append(reader.take())
        rule.options.append(("", Match(), _options(words)))
        return
    reader.take()
    if reader.look(1) not in ("daddr", "saddr", "dport"):
        rule.options.append(_named(rule, reader.take(), ruleset, Match()))
        return
    pair = (reader.take(), reader.take())
    reader.take()  # map
    for element in reader.value():
        value, _, name = (part.strip() for part in element.partition(" : "))
        if pair in TO_ADDRESS or pair in TO_PORT:
            more = _said(Match(), " ".join(pair), "", pair, [value], joined=False, negated=False)
        else:
            more = Match(notes=(f"for {' '.join(pair)} {value} only: a service cannot say so",))
        rule.options.append(_named(rule, name, ruleset, more))


def _named(rule: _Rule, name: str, ruleset: _Ruleset, more: Match) -> tuple[str, Match, Options]:
    options = ruleset.proxies.get((rule.table, name))
    if options is None:
        return name, replace(more, notes=(*more.notes, f"there is no synproxy {name} in table {rule.table}")), Options()
    return name, more, options
