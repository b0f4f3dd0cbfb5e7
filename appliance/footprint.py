"""What the bpf engine has changed on this machine beside its pins: a file, for whoever undoes it.

Owns the file `footprint` in runtime_dir. Written by engine_bpf.py, read by removal.py: who undoes a change may be
another process than the one that made it, which may have been killed. A change is written down before it is made. The
file is lost with runtime_dir at a reboot, as the changes are. Must not know how anything is undone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from appliance import statefile

LOG = logging.getLogger(__name__)

NAME = "footprint"


@dataclass(frozen=True)
class Footprint:
    """mounted: bpf file systems. clsact: interfaces that had none. offloads: features turned off, by interface."""

    mounted: tuple[str, ...] = ()
    clsact: tuple[str, ...] = ()
    offloads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def with_mounted(self, folder: Path) -> Footprint:
        """The same and one more."""
        return replace(self, mounted=_joined(self.mounted, (str(folder),)))

    def with_clsact(self, interfaces: tuple[str, ...]) -> Footprint:
        """The same and some more."""
        return replace(self, clsact=_joined(self.clsact, interfaces))

    def with_offloads(self, interface: str, features: tuple[str, ...]) -> Footprint:
        """The same and some more."""
        joined = _joined(self.offloads.get(interface, ()), features)
        return replace(self, offloads={**self.offloads, interface: joined})


def _joined(some: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*some, *more}))


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise statefile.UnreadableError("is not made of lists of texts")
    return tuple(value)


def _of(content: Mapping[str, object]) -> Footprint:
    offloads = content.get("offloads", {})
    if not isinstance(offloads, dict):
        raise statefile.UnreadableError("its offloads are not an object")
    return Footprint(
        _texts(content.get("mounted", [])),
        _texts(content.get("clsact", [])),
        {str(name): _texts(features) for name, features in offloads.items()},
    )


def load(runtime_dir: Path) -> Footprint:
    """What is written down. A file that cannot be understood is put aside and said. Raises OperatorError."""
    path = runtime_dir / NAME
    try:
        return _of(statefile.read(path) or {})
    except statefile.UnreadableError as error:
        aside = statefile.put_aside(path)
        LOG.warning("%s %s: put aside as %s; what it said to undo will not be undone", path, error, aside.name)
        return Footprint()


def save(runtime_dir: Path, footprint: Footprint) -> None:
    """Replaces the file. Raises OperatorError."""
    statefile.write(runtime_dir / NAME, asdict(footprint))


def forget(runtime_dir: Path) -> None:
    """All is undone."""
    (runtime_dir / NAME).unlink(missing_ok=True)
