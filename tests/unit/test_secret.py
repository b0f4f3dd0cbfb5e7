"""The secret file: made once and whole, read strictly, never replaced."""

from __future__ import annotations

import re
import stat
import threading
from pathlib import Path

import pytest

from appliance.errors import OperatorError
from appliance.secret import SECRET_BYTES, load_or_create

HEX = "0123456789abcdef" * 4


def written(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def test_a_missing_secret_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "secret"
    secret = load_or_create(path)
    assert len(secret) == SECRET_BYTES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert re.fullmatch(r"[0-9a-f]{64}\n", path.read_text())
    assert load_or_create(path) == secret
    assert [one.name for one in path.parent.iterdir()] == ["secret"]


def test_every_secret_is_another_one(tmp_path: Path) -> None:
    assert len({load_or_create(tmp_path / str(number)) for number in range(20)}) == 20


def test_the_first_of_many_wins_and_all_use_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    found: list[bytes] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        found.append(load_or_create(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {bytes.fromhex(path.read_text())}
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("text", [HEX, HEX + "\n", HEX.upper() + "\r\n", f"  {HEX}\n\n"])
def test_a_secret_written_by_hand_is_taken(tmp_path: Path, text: str) -> None:
    assert load_or_create(written(tmp_path / "secret", text)) == bytes.fromhex(HEX)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 characters, 64 hexadecimal digits would be right"),
        (HEX[:63], "has 63 characters, 64 hexadecimal digits would be right"),
        (HEX + "0", "has 65 characters, 64 hexadecimal digits would be right"),
        (HEX[:63] + "g", "is not made of hexadecimal digits"),
        (b"\xff" * 64, "is not made of hexadecimal digits"),
        (b"\0" * 64, "is not made of hexadecimal digits"),
        ("x" * 100_000, "has 4096 characters, 64 hexadecimal digits would be right"),
    ],
)
def test_a_damaged_secret_is_refused_and_left_as_it_is(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = written(tmp_path / "secret", text)
    before = path.read_bytes()
    with pytest.raises(OperatorError) as caught:
        load_or_create(path)
    assert caught.value.message == f"{path}: {message}"
    assert "restore it from a backup" in caught.value.hint
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_secret_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "secret", HEX, mode)
    with pytest.raises(OperatorError, match=f"others than its owner may use the secret .mode {mode:04o}.") as caught:
        load_or_create(path)
    assert caught.value.hint == f"chmod 600 {path}"


def test_a_folder_that_cannot_be_made_is_an_operator_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="cannot be"):
        load_or_create(tmp_path / "file" / "secret")


def test_a_folder_in_place_of_the_secret_is_an_operator_error(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    with pytest.raises(OperatorError, match="cannot be read: Is a directory"):
        load_or_create(tmp_path / "secret")
