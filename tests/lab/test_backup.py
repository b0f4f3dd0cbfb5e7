"""`levee backup` and `levee restore` as an operator uses them: between two lives of a daemon."""

from __future__ import annotations

import subprocess

from netlab.appliance import command
from netlab.daemonbox import LIMIT_S, Box, end

from appliance import exits

OTHER = """\
# a comment that stays
services:
  mail: {addresses: [198.19.0.25], ports: [25]}
"""


def levee(box: Box, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Commands that ask no daemon."""
    argv = [str(command()), *arguments, "-c", str(box.config_file)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=LIMIT_S * 2)


def test_a_box_is_as_it_was_and_there_is_a_way_back(box: Box) -> None:
    child = box.start()
    assert box.levee("block", "add", "192.0.2.0/24").returncode == 0
    text = box.config_file.read_text()
    file = str(box.folder / "box.levee")
    made = levee(box, "backup", file)
    assert (made.returncode, made.stdout) == (0, "")
    assert "the secret of the cookies is in it" in made.stderr
    box.configure(OTHER)
    assert "is in force" in box.levee("apply", "--confirm", "0").stdout
    assert box.levee("block", "del", "192.0.2.0/24").returncode == 0
    other = box.config_file.read_text()

    refused = levee(box, "restore", file)
    assert refused.returncode == exits.ERROR
    assert "levee is running: it would write over what is restored" in refused.stderr
    assert box.config_file.read_text() == other
    end(child)

    looked = levee(box, "restore", "--check", file)
    assert (looked.returncode, looked.stderr) == (0, "")
    assert "services: web" in looked.stdout
    assert box.config_file.read_text() == other
    restored = levee(box, "restore", file)
    assert (restored.returncode, restored.stderr) == (0, "")
    way_back = restored.stdout.partition("what was there before: levee restore ")[2].split()[0]
    assert box.config_file.read_text() == text
    child = box.start()
    assert box.status()["services"].keys() == {"web"}
    assert "192.0.2.0/24" in box.levee("block", "list").stdout
    assert len(box.levee("history").stdout.splitlines()) == 1
    end(child)

    assert levee(box, "restore", way_back).returncode == 0
    child = box.start()
    assert box.status()["services"].keys() == {"mail"}
    assert "192.0.2.0/24" not in box.levee("block", "list").stdout
    assert len(box.levee("history").stdout.splitlines()) == 2
    end(child)


def test_one_that_is_cut_off_changes_nothing(box: Box) -> None:
    end(box.start())
    file = box.folder / "box.levee"
    assert levee(box, "backup", "--without-secret", str(file)).returncode == 0
    file.write_bytes(file.read_bytes()[:-20])
    text = box.config_file.read_text()
    result = levee(box, "restore", str(file))
    assert result.returncode == exits.ERROR
    assert "or not a whole one" in result.stderr
    assert box.config_file.read_text() == text
    assert not (box.folder / "state" / "before-restore.levee").exists()
