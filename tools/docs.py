"""Writes what is generated for readers: pages of docs/, manual pages, the schema for editors.

    tools/docs.py              write the files that are not as they should be
    tools/docs.py --check      only say which they are; write nothing

Owns the list of files. Run by `make docs` and by the check. The text comes from the installed package, so `make build`
goes first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import keys
import manpage
import pages
import schema
from pages import ROOT

FILES: dict[str, Callable[[], str]] = {
    "docs/configuration.md": pages.configuration,
    "docs/commands.md": pages.commands,
    "docs/reasons.md": pages.reasons,
    "docs/mistakes.md": pages.mistakes,
    "docs/man/levee.1": manpage.levee_1,
    "docs/man/levee.yaml.5": manpage.levee_yaml_5,
    "configs/levee.schema.json": schema.text,
}


def stale() -> dict[str, str]:
    """The files that are not what they should be, with what they should be."""
    made = {name: make() for name, make in FILES.items()}
    return {
        name: text
        for name, text in made.items()
        if not (ROOT / name).exists() or (ROOT / name).read_text(encoding="utf-8") != text
    }


def main(options: list[str]) -> int:
    """Exit code 1 where something is missing, or was to be checked and is not as it should be."""
    try:
        found = stale()
    except (keys.Incomplete, pages.Unknown) as error:
        print(error, file=sys.stderr)
        return 1
    for name, text in found.items():
        if "--check" in options:
            print(f"{name} is not what its sources say: run `make docs`", file=sys.stderr)
            continue
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(text, encoding="utf-8")
        print(f"wrote {name}")
    return 1 if found and "--check" in options else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
