"""`levee update` up to RAUC's door: what an operator is told. What RAUC does is shown by tests/image."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance import cli, exits
from appliance.commands import update


@pytest.fixture
def appliance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An appliance as far as `levee update` looks: RAUC's configuration, and a program of that name."""
    (tmp_path / "system.conf").write_text("")
    program = tmp_path / "rauc"
    note = 'for file; do :; done; echo "$1 ${file##*/}" >>"$(dirname "$0")/calls"'
    program.write_text(f'#!/bin/sh\nprintf " 40%% Copying\\n"; {note}\n')
    program.chmod(0o755)
    (tmp_path / "new.raucb").write_text("a bundle")
    monkeypatch.setattr(update, "RAUC_CONFIGURATION", tmp_path / "system.conf")
    monkeypatch.setattr(update, "RESTART_REQUEST", tmp_path / "restart")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_an_installed_system_is_not_updated_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["update", str(tmp_path / "new.raucb")]) == exits.ERROR
    assert "this is not the bootable appliance" in capsys.readouterr().err


def test_a_bundle_is_checked_and_installed(appliance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["update", str(appliance / "new.raucb")]) == exits.DONE
    assert (appliance / "calls").read_text() == "info new.raucb\ninstall new.raucb\n"
    said = capsys.readouterr().out
    assert "40% Copying" in said
    assert "at the next start" in said
    assert not (appliance / "restart").exists()


def test_a_restart_is_wished_for_once_it_is_installed(appliance: Path) -> None:
    assert cli.main(["update", "--restart", str(appliance / "new.raucb")]) == exits.DONE
    assert (appliance / "restart").exists()


def test_a_bundle_that_rauc_refuses_is_not_installed(appliance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (appliance / "rauc").write_text('#!/bin/sh\necho "signature verification failed: unable to get issuer"; exit 1\n')
    assert cli.main(["update", "--restart", str(appliance / "new.raucb")]) == exits.ERROR
    said = capsys.readouterr().err
    assert "new.raucb: signature verification failed" in said
    assert "a key that this box believes" in said
    assert not (appliance / "restart").exists()


def test_a_missing_bundle_is_told(appliance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["update", str(appliance / "old.raucb")]) == exits.ERROR
    assert "there is no such file" in capsys.readouterr().err
