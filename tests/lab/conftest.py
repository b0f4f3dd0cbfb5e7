"""Fixtures of the lab's tests: one lab per mode and engine, servers in it, captures.

    pytest tests/lab                                  every mode that this kernel can run
    pytest tests/lab --mode bridge --engine nfqueue   one
    pytest tests/lab --engine none                    no appliance: what the tests see without it

LEVEE_LAB_MODE and LEVEE_LAB_ENGINE say the same. The namespaces are levee-test-client and so on: a lab
that is up by `make lab` is left alone. A second run from the same checkout waits for the first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from netlab import ability, control, netns, servers, session
from netlab.compiled import BUILD_DIR
from netlab.daemonbox import Box, namespace, open_folder
from netlab.names import Names, names_from_environment
from netlab.screens import put_back
from netlab.session import FAMILIES, Lab
from netlab.topology import Mode

# Option, environment variable, default, help. Options are known only when tests/lab is named on the
# command line; the environment works for a run of everything, too.
_SETTINGS = (
    ("--mode", "LEVEE_LAB_MODE", "", "bridge, routed or host; default: what this kernel can do"),
    ("--engine", "LEVEE_LAB_ENGINE", "nfqueue", "auto, nfqueue, bpf, or none: no appliance"),
    ("--file-mib", "LEVEE_LAB_FILE_MIB", "1024", "size of the large file in MiB"),
    ("--kills", "LEVEE_LAB_KILLS", "4", "how often the daemon is killed during downloads"),
    ("--reloads", "LEVEE_LAB_RELOADS", "20", "how often the services change during downloads and a flood"),
    ("--conversations", "LEVEE_LAB_CONVERSATIONS", "15", "random conversations, each with the box and without"),
    ("--tasks", "LEVEE_LAB_TASKS", "no", "yes: the tasks of a new operator on three terminals, too"),
    ("--connections", "LEVEE_LAB_CONNECTIONS", "2000", "short connections under a flood"),
    ("--flood-syns", "LEVEE_LAB_FLOOD_SYNS", "2000000", "forged SYNs in the large flood"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lab", "network lab")
    for option, _, _, text in _SETTINGS:
        group.addoption(option, default=None, help=text)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "deep: packet logic that is the same in every mode, or the direct path: left out where a machine is slow",
    )


def setting(config: pytest.Config, name: str) -> str:
    for option, variable, default, _ in _SETTINGS:
        if option == name:
            return str(config.getoption(option, None) or os.environ.get(variable) or default)
    raise KeyError(name)


def _modes(config: pytest.Config) -> list[Mode]:
    chosen = setting(config, "--mode")
    if chosen:
        return [Mode(chosen)]
    if os.geteuid() != 0:
        return [Mode.ROUTED]  # the fixture says that root is needed
    return ability.modes()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What is about mode host only would be one long skip elsewhere; tasks are done when somebody asks for them."""
    if collection_path.name in ("test_tasks.py", "test_forms.py"):
        return True if setting(config, "--tasks") != "yes" else None
    return True if collection_path.name == "test_host.py" and Mode.HOST not in _modes(config) else None


def pytest_report_header(config: pytest.Config) -> list[str]:
    modes = _modes(config)
    line = f"lab: modes {', '.join(modes)}; engine {setting(config, '--engine')}"
    reason = "" if setting(config, "--mode") else ability.left_out(modes)
    return [line, *([f"lab: not run: {reason}"] if reason else [])]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "lab" in metafunc.fixturenames:
        modes = _modes(metafunc.config)
        engine = setting(metafunc.config, "--engine")
        metafunc.parametrize(
            "lab",
            [(mode, engine) for mode in modes],
            ids=[f"{m}-{engine}" for m in modes],
            indirect=True,
            scope="session",
        )
    if "box" in metafunc.fixturenames:
        # A box has two interfaces; mode host has tests of its own.
        modes = [mode for mode in _modes(metafunc.config) if mode is not Mode.HOST]
        metafunc.parametrize("box", modes or [Mode.ROUTED], indirect=True)
    if "family" in metafunc.fixturenames:
        metafunc.parametrize("family", FAMILIES, ids=[f"ipv{f}" for f in FAMILIES], scope="session")


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    mode, engine = request.param
    missing = ability.bpf_missing() if engine == "bpf" else ""
    if missing:
        pytest.skip(missing)
    names = names_from_environment("levee-test")
    text = session.protected_and_direct(mode, engine, names)
    with _alone(names):
        yield session.bring_up(names, mode, engine, text, tmp_path_factory.mktemp("lab"))
        control.down(names)


@contextlib.contextmanager
def _alone(names: Names) -> Iterator[None]:
    """Two runs with the same namespaces would take them from each other."""
    BUILD_DIR.mkdir(parents=True, exist_ok=True)
    with (BUILD_DIR / f"{names.prefix}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def nginx(lab: Lab, scratch: Path) -> Iterator[Path]:
    """nginx on port 80; the value is the directory it serves."""
    with servers.nginx(lab.names, scratch):
        yield scratch / "www"


@pytest.fixture(scope="session")
def large_file(nginx: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    path = nginx / "large"
    servers.write_pattern(path, int(setting(request.config, "--file-mib")))
    yield path
    path.unlink()


@pytest.fixture
def no_forged_packet(lab: Lab) -> Iterator[None]:
    """The test fails when a single packet with a forged source arrives at the server."""
    before = lab.arrived()["forged"]
    lab.forget_forged()
    yield
    assert lab.arrived()["forged"] == before, lab.first_forged()


@pytest.fixture(scope="session")
def flood_syns(request: pytest.FixtureRequest) -> int:
    """Forged SYNs in the large flood."""
    return int(setting(request.config, "--flood-syns"))


@pytest.fixture(scope="session")
def reloads(request: pytest.FixtureRequest) -> int:
    """How often the services change during downloads and a flood."""
    return int(setting(request.config, "--reloads"))


@pytest.fixture(scope="session")
def kills(request: pytest.FixtureRequest) -> int:
    """How often the daemon is killed during downloads."""
    return int(setting(request.config, "--kills"))


@pytest.fixture(scope="session")
def connections(request: pytest.FixtureRequest) -> int:
    """Short connections under a flood."""
    return int(setting(request.config, "--connections"))


@pytest.fixture(scope="session")
def conversations_played(request: pytest.FixtureRequest) -> int:
    """Random conversations, each with the box and without."""
    return int(setting(request.config, "--conversations"))


@pytest.fixture
def unchanged(lab: Lab) -> Iterator[str]:
    """The text in force; it is put back, whatever a test leaves in force or on trial."""
    with put_back(lab) as before:
        yield before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:  # noqa: ARG001
    """What a mode has no ends for is skipped, with its reason."""
    try:
        return (yield)
    except session.NoSuchEnd as missing:
        pytest.skip(missing.message)


@pytest.fixture(autouse=True)
def _daemon_runs(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that left the daemon dead has failed; it shall not take the tests after it along."""
    yield
    if "lab" in request.fixturenames:
        up: Lab = request.getfixturevalue("lab")
        if up.protecting and not up.process.alive:
            up.start_daemon()


@pytest.fixture
def box(request: pytest.FixtureRequest) -> Iterator[Box]:
    """A namespace of its own for daemons, without peers."""
    netns.require_root()
    mode: Mode = request.param
    with open_folder() as folder:
        made = Box(f"levee-daemon-{os.getpid()}", folder, mode)
        with namespace(made.namespace):
            made.configure()
            yield made
            for child in made.children:
                if child.poll() is None:
                    child.kill()
                child.communicate()
