"""The control socket as another program speaks to it: varlinkctl of systemd 257 or newer."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
from netlab.daemonbox import LIMIT_S, Box, end

INTERFACE = "org.levee"


@pytest.fixture
def varlinkctl() -> str:
    found = shutil.which("varlinkctl")
    if found is None:
        pytest.skip("varlinkctl is not installed: systemd here is older than 257")
    return found


def ask(varlinkctl: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [varlinkctl, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=LIMIT_S)


def called(varlinkctl: str, box: Box, method: str, parameters: str = "{}") -> dict[str, Any]:
    done = ask(varlinkctl, "call", "--json=short", str(box.socket), f"{INTERFACE}.{method}", parameters)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_another_program_speaks_to_the_socket(box: Box, varlinkctl: str) -> None:
    """It reads our interface file by its own rules, and refuses one that is not as it should be."""
    child = box.start()
    assert "product: levee" in ask(varlinkctl, "info", str(box.socket)).stdout.lower().replace("  ", " ")
    assert INTERFACE in ask(varlinkctl, "list-interfaces", str(box.socket)).stdout
    described = ask(varlinkctl, "introspect", str(box.socket), INTERFACE)
    assert (described.returncode, described.stderr) == (0, "")
    assert "method Status" in described.stdout
    assert called(varlinkctl, box, "Status")["services"].keys() == {"web"}
    assert called(varlinkctl, box, "BlockAdd", '{"prefixes": ["192.0.2.0/24"]}') == {"entries": 1}
    assert called(varlinkctl, box, "BlockList")["entries"][0]["prefix"] == "192.0.2.0/24"
    refused = ask(varlinkctl, "call", str(box.socket), f"{INTERFACE}.BlockAdd", '{"prefixes": ["nowhere"]}')
    assert refused.returncode != 0
    assert f"{INTERFACE}.Refused" in refused.stderr
    end(child)
