"""The data plane must not know the control plane: in its sources, and when it is imported."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

CEXT = Path(__file__).resolve().parents[2] / "cext"
SOURCES = sorted(path for suffix in ("py", "pyi", "pyx", "pxd", "h") for path in CEXT.rglob(f"*.{suffix}"))
MODULES = sorted(path.stem for path in CEXT.glob("*.pyx"))
IMPORTS_APPLIANCE = re.compile(r"^\s*(from|import|cimport)\s+appliance\b", re.MULTILINE)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CEXT)))
def test_source_does_not_import_the_control_plane(path: Path) -> None:
    assert not IMPORTS_APPLIANCE.search(path.read_text())


@pytest.mark.parametrize("module", MODULES)
def test_import_does_not_load_the_control_plane(module: str) -> None:
    program = f"import sys, cext.{module}; sys.exit('appliance' in sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", program], check=True, timeout=60)


def test_tested_package_is_the_installed_one() -> None:
    spec = importlib.util.find_spec("cext")
    assert spec is not None
    assert spec.origin is not None
    assert "site-packages" in Path(spec.origin).parts
