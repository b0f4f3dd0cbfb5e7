"""The manual pages levee(1) and levee.yaml(5), in the man macros of groff (groff_man(7)).

Owns their form. Called by docs.py. The texts come from the parser and the models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import keys
from pages import arguments, parsers, usage

from appliance import cli
from appliance.version import version

CODE = re.compile(r"`([^`]+)`")


def escaped(text: str) -> str:
    """Text that roff prints as it stands; what is in backquotes in bold."""
    safe = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")
    )
    safe = CODE.sub(r"\\fB\1\\fR", safe)
    return f"\\&{safe}" if safe.startswith(".") else safe


def _head(title: str, section: int, name: str, said: str) -> list[str]:
    made = '.\\" Made by `make docs`: change what it is made of, not this page.'
    return [made, f'.TH {title} {section} "" "levee {version()}"', ".SH NAME", f"{name} \\- {escaped(said)}"]


def _item(tag: str, *lines: str) -> list[str]:
    return [".TP", f".B {escaped(tag)}", *(escaped(line) for line in lines)]


def levee_1() -> str:
    """docs/man/levee.1."""
    lines = [
        *_head("LEVEE", 1, "levee", "protection against SYN floods"),
        ".SH SYNOPSIS",
        ".B levee",
        ".I COMMAND",
        "[\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        escaped(
            "Levee stands between clients and servers, answers SYNs itself with SYN cookies, opens the connection to "
            "the server only for clients that completed the handshake, and translates sequence numbers from then on."
        ),
        ".SH COMMANDS",
    ]
    for _, parser, said in parsers(cli.argument_parser()):
        lines += [f".SS {escaped(usage(parser))}", f"{escaped(said[:1].upper() + said[1:])}."]
        for written, text in arguments(parser):
            lines += _item(written, *([text] if text else ["\\&"]))
    lines += [
        ".SH EXIT STATUS",
        *_item("0", "Done; of `levee status`: fine; of `levee diff`: the same."),
        *_item("1", "Of `levee status`: an attack goes on; of `levee diff`: different."),
        *_item("2", "Of `levee status`: something is not as it should be."),
        *_item("3", "An error, explained on stderr."),
        ".SH ENVIRONMENT",
        *_item("LEVEE_SOCKET", "The control socket, where `--socket` is not given."),
        ".SH FILES",
        *_item("/etc/levee/levee.yaml", "The configuration."),
        *_item("/run/levee/control.sock", "The control socket."),
        *_item("/var/lib/levee", "Secret, learned servers, events, history."),
        ".SH SEE ALSO",
        ".BR levee.yaml (5)",
    ]
    return "\n".join(lines) + "\n"


def levee_yaml_5() -> str:
    """docs/man/levee.yaml.5."""
    lines = [
        *_head("LEVEE.YAML", 5, "levee.yaml", "the configuration of levee"),
        ".SH DESCRIPTION",
        escaped(
            "One YAML 1.2 file, read strictly: unknown and repeated keys are errors, `true` and `false` are the only "
            "booleans, sizes and times have a unit. `levee check` says everything that is wrong with it at once."
        ),
    ]
    for path, text, here in keys.sections():
        lines += [f".SH {escaped(path.upper() if path == keys.NAME else path or 'THE WHOLE FILE')}"]
        lines += [escaped(part) for part in text.split("\n\n")] if path else []
        for key in here:
            lines += _item(key.name, *_said(key))
    lines += [".SH SEE ALSO", ".BR levee (1)"]
    return "\n".join(lines) + "\n"


def _said(key: keys.Key) -> Iterator[str]:
    yield key.text
    if key.model is not None:
        yield "Has keys below it."
        return
    yield f"Accepts {keys.words(key.schema)}."
    if key.needed:
        yield "Needed."
    elif key.default is not None:
        yield f"Default: `{key.default}`."
