"""What the image's box decides beside its daemon: mirrored links, bundles on the stick, time; the recipe's lists."""

from __future__ import annotations

from pathlib import Path

import pytest
from chassis import mirror, ports, settings, update
from chassis.mirror import SETTLE_S, Mirror, step
from recipe import contents, deb
from recipe.places import Release

from appliance.errors import ConfigError, OperatorError

SETTLED = Mirror(None, 0.0)


def test_the_port_beside_a_lost_link_is_held() -> None:
    assert step(SETTLED, outside=False, inside=True, at_s=1).held == "inside"
    assert step(SETTLED, outside=True, inside=False, at_s=1).held == "outside"
    assert step(SETTLED, outside=True, inside=True, at_s=1).held is None
    assert step(SETTLED, outside=False, inside=False, at_s=1).held is None


def test_a_held_port_is_released_by_the_other_one_alone() -> None:
    held = step(SETTLED, outside=False, inside=True, at_s=1)
    assert step(held, outside=False, inside=False, at_s=2).held == "inside"
    released = step(held, outside=True, inside=False, at_s=3)
    assert released == Mirror(None, 3 + SETTLE_S)
    # What was set up a moment ago has no link yet, and is no reason to set the other one down.
    assert step(released, outside=True, inside=False, at_s=3 + SETTLE_S - 1).held is None
    assert step(released, outside=True, inside=False, at_s=3 + SETTLE_S).held == "outside"


def test_links_are_mirrored_when_box_yaml_asks_for_it() -> None:
    assert settings.loads(b"version: 1\n", "box.yaml").mirror_links is False
    assert settings.loads(b"version: 1\nmirror_links: true\n", "box.yaml").mirror_links is True
    with pytest.raises(ConfigError, match="2:15: mirror_links: yes is neither true nor false"):
        settings.loads(b"version: 1\nmirror_links: yes\n", "box.yaml")


def test_time_comes_from_the_named_servers_alone() -> None:
    found = settings.loads(b"version: 1\nmanagement: {address: 192.0.2.10/24, ntp: [192.0.2.1]}\n", "box.yaml")
    assert found.management is not None
    assert ports.clock(found.management.ntp) == "[Time]\nNTP=192.0.2.1\nFallbackNTP=\n"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The bundles that were installed; a file's text is its version, "bad" has no signature, "broken" fails later."""
    names: list[str] = []

    def version(file: Path) -> str:
        if file.read_text() == "bad":
            raise OperatorError("signature verification failed")
        return file.read_text()

    def install(file: Path) -> None:
        if file.read_text() == "broken":
            raise OperatorError("the slot cannot be written")
        names.append(file.name)

    monkeypatch.setattr(update, "version", version)
    monkeypatch.setattr(update, "install", install)
    return names


def test_a_bundle_is_installed_once(installed: list[str], tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    stick = tmp_path / "stick"
    stick.mkdir()
    (stick / "NEW.RAUCB").write_text("2")
    assert update.take(stick, "1", mark) == "2"
    assert update.take(stick, "2", mark) is None
    assert not list(stick.glob("*.refused"))
    # It went back to the version before: not again.
    assert update.take(stick, "1", mark) is None
    assert "2 was installed from here before, and yet 1 is running" in (stick / "NEW.RAUCB.refused").read_text()
    (stick / "NEW.RAUCB").write_text("3")
    assert update.take(stick, "1", mark) == "3"
    assert installed == ["NEW.RAUCB", "NEW.RAUCB"]
    assert not list(stick.glob("*.refused"))


@pytest.mark.parametrize("content", ["bad", "broken"])
def test_a_bundle_that_cannot_be_installed_says_why(content: str, installed: list[str], tmp_path: Path) -> None:
    (tmp_path / "new.raucb").write_text(content)
    (tmp_path / "levee.yaml.refused").write_text("of another file")
    assert update.take(tmp_path, "1", tmp_path / "mark") is None
    assert "was not taken" in (tmp_path / "new.raucb.refused").read_text()
    assert (tmp_path / "levee.yaml.refused").exists()
    assert not (tmp_path / "mark").exists()
    assert installed == []
    (tmp_path / "new.raucb").unlink()
    update.take(tmp_path, "1", tmp_path / "mark")
    assert not (tmp_path / "new.raucb.refused").exists()


def test_of_two_bundles_none_is_installed(installed: list[str], tmp_path: Path) -> None:
    for name in ("a.raucb", "b.raucb"):
        (tmp_path / name).write_text("2")
    assert update.take(tmp_path, "1", tmp_path / "mark") is None
    assert installed == []
    assert "there are 2 updates" in (tmp_path / "b.raucb.refused").read_text()


def test_two_builds_are_compared_part_by_part(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/a").write_text("one")
    (tmp_path / "etc/b").symlink_to("a")
    before = contents.of_root(tmp_path)
    assert contents.differences(before, contents.of_root(tmp_path)) == []
    assert contents.parse(contents.text(before)) == before
    (tmp_path / "etc/a").chmod(0o600)
    (tmp_path / "etc/b").unlink()
    (tmp_path / "etc/c").write_text("")
    assert contents.differences(before, contents.of_root(tmp_path)) == [
        "root: /etc/a: differs",
        "root: /etc/b: only in the first build",
        "root: /etc/c: only in the second build",
    ]


def test_package_fits_one_python() -> None:
    text = deb.control(Release("0.1.0+gabc", 0), deb.System("12", (3, 11), "2.36", "amd64"), 1000)
    assert "Version: 0.1.0+gabc+deb12\n" in text
    assert "python3 (>= 3.11), python3 (<< 3.12), libc6 (>= 2.36)" in text


def test_a_port_that_is_down_or_missing_has_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/carrier").write_text("1\n")
    monkeypatch.setattr(mirror, "SYS_NET", tmp_path)
    assert mirror.has_link("outside")
    assert not mirror.has_link("inside")
