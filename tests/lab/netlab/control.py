"""One lab as a whole: bring it up, take it down, say what is up.

Owns the state file. up() and down() are idempotent: up() on a lab that already is what was asked
for changes nothing, anything else is taken down first. Called by lab.py and the fixtures.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from netlab import appliance, configuration, netns, nic, topology
from netlab.appliance import Appliance, Process
from netlab.names import Names
from netlab.process import LabError
from netlab.topology import Mode

ENGINES = ("auto", "bpf", "nfqueue")
NO_ENGINE = "none"  # the lab without an appliance: plain forwarding


@dataclass(frozen=True)
class State:
    """What is up. `pid` and `started` are 0 without an appliance."""

    mode: str
    engine: str
    configuration: str
    levee: str
    pid: int
    started: int

    @property
    def process(self) -> Process:
        return Process(self.pid, self.started)


def _state_file(names: Names) -> Path:
    return names.lab_dir / "lab.json"


def read_state(names: Names) -> State | None:
    """None when no lab is up. A half-written file counts as none: what is there gets removed."""
    try:
        return State(**json.loads(_state_file(names).read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


def write_state(names: Names, state: State) -> None:
    new = _state_file(names).with_suffix(".new")
    new.write_text(json.dumps(asdict(state), indent=2) + "\n")
    new.replace(_state_file(names))


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two commands that build and remove the same namespaces would meet half-way.

    The lock is on the folder /run itself, so that no file stays behind.
    """
    folder = os.open("/run", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def up(names: Names, mode: Mode, engine: str, config_file: Path | None = None) -> bool:
    """Bring the lab up; False when exactly this lab was up already.

    mode:        topology, and the mode in the default configuration.
    engine:      one of ENGINES, or NO_ENGINE for plain forwarding without an appliance.
    config_file: used instead of the default configuration, as it is.
    """
    netns.require_root()
    if config_file is None:
        text = configuration.default(mode, engine, names)
    elif config_file.exists():
        text = config_file.read_text()
    else:
        raise LabError(f"{config_file}: no such file", "CONFIG names a configuration of levee")
    with _one_at_a_time():
        if _is_up(names, mode, engine, text):
            return False
        _remove(names)
        _bring_up(names, mode, engine, text)
    return True


def down(names: Names) -> bool:
    """Remove everything; False when there was nothing."""
    netns.require_root()
    with _one_at_a_time():
        anything = names.lab_dir.exists() or any(netns.exists(n) for n in names.namespaces)
        _remove(names)
    return anything


def _is_up(names: Names, mode: Mode, engine: str, text: str) -> bool:
    state = read_state(names)
    if state is None or (state.mode, state.engine) != (mode.value, engine):
        return False
    if not all(netns.exists(name) for name in names.namespaces):
        return False
    if engine == NO_ENGINE:
        return True
    return state.configuration == text and state.process.alive


def _bring_up(names: Names, mode: Mode, engine: str, text: str) -> None:
    names.lab_dir.mkdir(parents=True, exist_ok=True)
    try:
        if engine == NO_ENGINE:
            topology.build(mode, names)
            state = State(mode.value, engine, "", "", 0, 0)
        else:
            state = _bring_up_protected(names, mode, engine, text)
        write_state(names, state)
    except BaseException:
        _remove(names, keep_log=True)
        raise


def _bring_up_protected(names: Names, mode: Mode, engine: str, text: str) -> State:
    config_file = names.lab_dir / "levee.yaml"
    config_file.write_text(text)
    levee = appliance.command()
    # Asked before anything is built: a mode or engine that this version cannot do ends here.
    appliance.check(levee, config_file)
    topology.build(mode, names)
    if mode is Mode.BRIDGE and engine != "nfqueue":
        nic.prepare(names)
    process = Appliance(names, levee).start(config_file)
    if names.standard:
        appliance.put_on_path(levee)
    return State(mode.value, engine, text, str(levee), process.pid, process.started)


def _remove(names: Names, *, keep_log: bool = False) -> None:
    state = read_state(names)
    if state is not None and state.levee:
        levee = Path(state.levee)
        if names.standard:
            appliance.take_off_path(levee)
        with contextlib.suppress(LabError):  # killed then; the namespace goes away either way
            Appliance(names, levee).stop(state.process)
    topology.demolish(names)
    nic.remove(names)
    for path in (names.runtime_dir, names.lab_dir):
        if keep_log and path == names.lab_dir:
            _state_file(names).unlink(missing_ok=True)
        elif path.exists():
            shutil.rmtree(path)


def describe(names: Names) -> str:
    state = read_state(names)
    if state is None:
        return "no lab is up"
    if not state.levee:
        return f"mode {state.mode}, no appliance (plain forwarding)"
    alive = f"levee runs as pid {state.pid}" if state.process.alive else "levee is not running"
    return f"mode {state.mode}, engine {state.engine}, {alive}, log {names.lab_dir}/levee.log"
