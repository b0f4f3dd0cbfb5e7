"""Packages and folders: the data plane must not know the control plane, and each file of a package is installed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CEXT = ROOT / "cext"
SOURCES = sorted(path for suffix in ("py", "pyi", "pyx", "pxd", "h") for path in CEXT.rglob(f"*.{suffix}"))
MODULES = sorted(path.stem for path in CEXT.glob("*.pyx"))
# What a package consists of besides its compiled modules, by suffix.
INSTALLED = (".py", ".pyi", ".typed", ".varlink")
PACKAGED = sorted(
    path.relative_to(ROOT)
    for name in ("appliance", "cext")
    for path in (ROOT / name).rglob("*")
    if path.suffix in INSTALLED
)
IMPORTS_APPLIANCE = re.compile(r"^\s*(from|import|cimport)\s+appliance\b", re.MULTILINE)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CEXT)))
def test_source_does_not_import_the_control_plane(path: Path) -> None:
    assert not IMPORTS_APPLIANCE.search(path.read_text())


@pytest.mark.parametrize("module", MODULES)
def test_import_does_not_load_the_control_plane(module: str) -> None:
    program = f"import sys, cext.{module}; sys.exit('appliance' in sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", program], check=True, timeout=60)


def test_tested_package_is_the_installed_one() -> None:
    assert "site-packages" in installed_root().parts


@pytest.mark.parametrize("path", PACKAGED, ids=str)
def test_file_is_installed_as_it_is(path: Path) -> None:
    copy = installed_root() / path
    assert copy.exists(), f"{path} is not in {path.parts[0]}/meson.build"
    assert copy.read_bytes() == (ROOT / path).read_bytes(), f"{path} was changed since: make build"


def test_nothing_else_is_installed() -> None:
    installed = {
        path.relative_to(installed_root())
        for name in ("appliance", "cext")
        for path in (installed_root() / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    modules = {Path("cext") / f"{name}{suffix}" for name in MODULES for suffix in EXTENSION_SUFFIXES}
    programs = {path.relative_to(ROOT).with_suffix(".o") for path in CEXT.glob("bpf/*.bpf.c")}
    assert installed - set(PACKAGED) <= modules | programs
    assert len(installed) == len(PACKAGED) + len(MODULES) + len(programs)


def installed_root() -> Path:
    """The folder that holds the packages under test."""
    spec = importlib.util.find_spec("cext")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parents[1]
