"""Fixtures of the image's tests: the image that `make image` made, and the lab's ends around it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest.layout import Layout
from guest.userland import ensure_built
from imagelab import wires
from netlab import servers
from netlab.names import Names, names_from_environment
from recipe import trees
from recipe.places import OUT

NEEDED = "make image"


@pytest.fixture(scope="session")
def image() -> Path:
    """The built image; without one there is nothing to test."""
    found = sorted(OUT.glob("levee-*.img"))
    assert found, f"there is no image in {OUT}: {NEEDED}"
    return found[-1]


@pytest.fixture(scope="session")
def tools() -> Layout:
    return ensure_built()


@pytest.fixture(scope="session")
def ovmf() -> Path:
    return trees.current().builder.root / "usr/share/OVMF"


@pytest.fixture(scope="session")
def names() -> Names:
    return names_from_environment("levee-image")


@pytest.fixture(scope="session")
def taps(names: Names, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Both ends with a web server, and the wires to plug the machine into."""
    with wires.wires(names) as files, servers.nginx(names, tmp_path_factory.mktemp("nginx")):
        yield files


@pytest.fixture
def disk(image: Path, tmp_path: Path) -> Path:
    """A freshly flashed disk."""
    target = tmp_path / "disk.img"
    subprocess.run(["cp", "--sparse=always", str(image), str(target)], check=True)
    return target


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Sockets and logs of one machine."""
    path = tmp_path / "machine"
    path.mkdir()
    yield path
    for name in ("serial", "qmp"):  # sockets; logs and captures stay for who looks at a failure
        (path / name).unlink(missing_ok=True)
