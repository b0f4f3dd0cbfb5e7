"""The generated pages of docs/: keys, commands, reasons and counters, typical mistakes.

Owns their wording. Called by docs.py, which writes them. What is said of a key, an option or a reason stands where
it is made (appliance/models.py, appliance/cli.py, cext/core/reason.h); here is only the frame.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keys
import yaml

from appliance import cli, config
from appliance.errors import ConfigError
from cext.dataplane import DROP_REASONS, EVENTS

ROOT = Path(__file__).resolve().parent.parent
ADVICE = ROOT / "docs/advice.yaml"
MISTAKES = ROOT / "tests/mistakes/mistakes.yaml"
MADE = "<!-- Made by `make docs`: change what it is made of, not this page. -->"
NOT_A_LOSS = "(not a loss"


class Unknown(Exception):
    """Something is said of what does not exist."""


def configuration() -> str:
    """docs/configuration.md."""
    lines = [
        MADE,
        "# The configuration file",
        "",
        "Every key, with what it accepts and its default. `levee check FILE` says everything that is wrong with a file",
        "at once, each mistake with line and column; `levee explain FILE` says what it means. Examples are in",
        "[configs](../configs/README.md). For completion in an editor, begin the file with",
        "",
        "    # yaml-language-server: $schema=levee.schema.json",
        "",
        "and put [levee.schema.json](../configs/levee.schema.json) beside it (an installed Levee has it in",
        "`share/levee`).",
    ]
    for path, text, here in keys.sections():
        lines += ["", f"## {f'`{path}`' if path else 'The whole file'}", ""]
        if path:
            lines += [text, ""]
        lines += ["| key | what | accepts | default |", "|---|---|---|---|"]
        lines += [_row(f"`{key.name}`", key.text, _accepts(path, key), _default(key)) for key in here]
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _accepts(path: str, key: keys.Key) -> str:
    if key.model is None:
        return keys.words(key.schema)
    below = f"{path}.{key.name}".lstrip(".") + (f".{keys.NAME}" if key.named else "")
    anchor = "".join(letter for letter in below.lower() if letter.isalnum() or letter in "_-")
    return f"[keys below it](#{anchor})"


def _default(key: keys.Key) -> str:
    if key.needed:
        return "needed"
    return f"`{key.default}`" if key.default is not None else ""


def parsers(parser: argparse.ArgumentParser, name: str = "levee") -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """Each command with its parser and its sentence; of one with actions, each action."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        said = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for word, below in action.choices.items():
            if any(isinstance(one, argparse._SubParsersAction) for one in below._actions):
                yield from parsers(below, f"{name} {word}")
            else:
                yield f"{name} {word}", below, said[word]


def arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Each argument as it is written, and what it does."""
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        text = (action.help or "") % vars(action)
        if action.choices and action.metavar is not None:
            text = f"one of {', '.join(map(str, action.choices))}; {text}".rstrip("; ")
        yield _written(action, ", ".join(action.option_strings)), text


def _written(action: argparse.Action, option: str) -> str:
    """An argument with what follows it; argparse's own form of it differs between versions of Python."""
    if action.nargs == 0:
        return option
    choices = f"{{{','.join(map(str, action.choices))}}}" if action.choices else None
    what = action.metavar or choices or action.dest.upper()
    many = {"+": f"{what} ...", "?": f"[{what}]" if not option else str(what)}.get(str(action.nargs), str(what))
    return f"{option} {many}".lstrip()


def usage(parser: argparse.ArgumentParser) -> str:
    """The usage in one line."""
    exclusive = {id(action): group for group in parser._mutually_exclusive_groups for action in group._group_actions}
    words, seen = [parser.prog], set()
    for action in sorted(parser._actions, key=lambda one: not one.option_strings):
        if isinstance(action, argparse._HelpAction) or id(action) in seen:
            continue
        group = exclusive.get(id(action))
        together = group._group_actions if group else [action]
        seen |= {id(one) for one in together}
        text = " | ".join(_written(one, one.option_strings[0] if one.option_strings else "") for one in together)
        words.append(text if not action.option_strings or action.required else f"[{text}]")
    return " ".join(words)


def commands() -> str:
    """docs/commands.md."""
    lines = [
        MADE,
        "# Commands",
        "",
        "Exit codes: 0 done; 3 an error, explained on stderr with a hint; `levee status`: 0 fine, 1 attack, 2",
        "degraded; `levee diff`: 0 the same, 1 different. Most commands ask the running daemon over its control",
        "socket, which is `--socket PATH`, else the variable LEVEE_SOCKET, else /run/levee/control.sock.",
    ]
    for name, parser, said in parsers(cli.argument_parser()):
        lines += ["", f"## {name}", "", f"{said[:1].upper()}{said[1:]}.", "", f"    {usage(parser)}"]
        listed = [(written, text) for written, text in arguments(parser) if written != "--socket PATH"]
        if listed:
            lines += ["", "| | |", "|---|---|", *(_row(f"`{written}`", text) for written, text in listed)]
    return "\n".join(lines) + "\n"


def _advice() -> dict[str, str]:
    """Name of a reason -> what to do about it. Raises Unknown."""
    found: dict[str, str] = yaml.safe_load(ADVICE.read_text())
    unknown = found.keys() - DROP_REASONS.keys() - EVENTS.keys()
    if unknown:
        raise Unknown(f"{ADVICE.relative_to(ROOT)}: there is no reason called {', '.join(sorted(unknown))}")
    return found


def reasons() -> str:
    """docs/reasons.md."""
    advice = _advice()
    lost = {name: text for name, text in DROP_REASONS.items() if NOT_A_LOSS not in text}
    at_work = {name: text for name, text in DROP_REASONS.items() if NOT_A_LOSS in text}
    lines = [
        MADE,
        "# Reasons and counters",
        "",
        "Every packet that is not forwarded has one reason. The same names stand in `levee status`, in `levee top`, in",
        "`levee status --json` and in the metrics for Prometheus; there is no other list.",
        "",
        "## Dropped because",
        "",
        "| reason | packet | what to do |",
        "|---|---|---|",
        *(_row(f"`{name}`", text, advice.get(name, "")) for name, text in lost.items()),
        "",
        "## Not forwarded, and not lost",
        "",
        "These are the protection at work: the box answered itself, or kept what it will deliver.",
        "",
        "| reason | packet | |",
        "|---|---|---|",
        *(
            _row(f"`{name}`", text.partition(f" {NOT_A_LOSS}")[0], advice.get(name, ""))
            for name, text in at_work.items()
        ),
        "",
        "## Other counters",
        "",
        "| counter | counts | |",
        "|---|---|---|",
        *(_row(f"`{name}`", text, advice.get(name, "")) for name, text in EVENTS.items()),
    ]
    return "\n".join(lines) + "\n"


def mistakes() -> str:
    """docs/mistakes.md."""
    lines = [
        MADE,
        "# Typical mistakes",
        "",
        "What a wrong file is answered with: `file:line:column: key: what is wrong, what would be right`. All mistakes",
        "of a file are reported at once, and nothing is changed while there is one. A test plays each of these.",
    ]
    for number, one in enumerate(read_mistakes(), 1):
        lines += ["", f"## {number}. {one['title']}", "", "```yaml", *one["file"].rstrip().splitlines(), "```", ""]
        lines += [f"    {line}" for line in answer(one["file"])]
        lines += ["", one["cure"].strip()]
    return "\n".join(lines) + "\n"


def read_mistakes() -> list[dict[str, Any]]:
    """The list: title, file, line, cure."""
    found: list[dict[str, Any]] = yaml.safe_load(MISTAKES.read_text())
    return found


def answer(text: str) -> list[str]:
    """What `levee check levee.yaml` says of the text. Raises Unknown when it finds nothing wrong."""
    try:
        config.loads(text.encode(), "levee.yaml")
    except ConfigError as error:
        return error.message.splitlines()
    raise Unknown(f"no mistake is found in:\n{text}")
