"""`levee import`: the rules of another SYN proxy as a configuration of ours, on stdout or in a new file."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from appliance import config, exits, import_firehol, import_iptables, import_nft, imported
from appliance.errors import OperatorError
from appliance.imported import Found, Places

MAX_BYTES = 16 << 20
KINDS: dict[str, tuple[Callable[[str], bool], Callable[[str], list[Found]]]] = {
    "iptables": (import_iptables.is_iptables, import_iptables.read),
    "nft": (import_nft.is_nft, import_nft.read),
    "firehol": (import_firehol.is_firehol, import_firehol.read),
}


def execute(arguments: Namespace) -> int:
    """Reads a file or stdin, writes nothing that is there already; what is written passes `levee check`."""
    source = "stdin" if arguments.file is None else str(arguments.file)
    text = _read(arguments.file)
    kind = arguments.format or next((name for name, (fits, _) in KINDS.items() if fits(text)), None)
    if kind is None:
        raise OperatorError(
            f"{source}: this is neither an nft ruleset, nor iptables-save's, nor FireHOL's with synproxy",
            "give what `nft list ruleset` or `iptables-save` prints, or firehol.conf; or name it with --format",
        )
    found = KINDS[kind][1](text)
    if not found:
        raise OperatorError(f"{source}: holds no SYN proxy rule", f"it was read as {kind}; see --format")
    places = Places(arguments.outside, arguments.inside, arguments.bridge)
    written = imported.render(source, kind, found, places)
    if "services: {}" not in written:
        config.loads(written.encode(), "what was written")
    if arguments.output is None:
        print(written, end="")
    else:
        _write(arguments.output, written)
    notes = written.count("# NOTE:")
    if notes:
        print(f"levee: {notes} note{'s' if notes > 1 else ''} to read: look for NOTE", file=sys.stderr)
    return exits.DONE


def _read(path: Path | None) -> str:
    try:
        if path is None:
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise OperatorError(f"{path}: cannot be read: {error.strerror}", "name the file with the rules") from error
    if len(data) > MAX_BYTES:
        raise OperatorError(f"{path}: is larger than {MAX_BYTES >> 20} MiB", "give the rules with synproxy only")
    return data.decode(errors="replace")


def _write(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise OperatorError(f"{path}: cannot be made: {error.strerror}", "name a file that is not there yet") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
