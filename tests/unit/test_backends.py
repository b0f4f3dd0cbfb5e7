"""What servers announced: kept over a restart with its age, pinned by the configuration, shown to the operator."""

from __future__ import annotations

import json
import time
from pathlib import Path as File
from typing import TYPE_CHECKING

import pytest
from box.box import ANSWER, FULL, Box, Talk, service
from box.wire import V4, V6, Path

from appliance import backends, statefile
from appliance.backends import KEPT_S, Keeper, content_of, parse
from appliance.commands.backends import render
from appliance.config import loads
from appliance.errors import OperatorError
from appliance.statefile import UnreadableError

if TYPE_CHECKING:
    from cext.dataplane import Backend

DAY_S = 86400
CONFIG = loads(
    b"""\
version: 1
mode: routed
outside: eth0
inside: eth1
services:
  web: {addresses: [198.19.0.0/24], ports: [80]}
  mail: {addresses: [198.19.0.0/25, "2001:db8:19::/64"], ports: [25, 443], server: {pin: true}}
""",
    "levee.yaml",
)


def real(*services: object, **config: object) -> Box:
    """A box whose clock is the machine's, as ages are measured by it."""
    box = Box(*services, **config)  # type: ignore[arg-type]  # passed on as they are
    box.now_ms = time.monotonic_ns() // 1_000_000
    return box


def heard(path: Path = V4) -> list[Backend]:
    """What a box knows after one connection."""
    with real() as box:
        Talk(box, path).open()
        return box.plane.backends()


def told(box: Box, path: Path = V4) -> dict[str, object]:
    """What the next client is told."""
    answer = Talk(box, path).syn()
    return {name: answer.option(name) for name in ("MSS", "WScale") if name in answer.names}


@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
def test_a_successor_announces_what_its_predecessor_heard(path: Path, tmp_path: File) -> None:
    with real() as box:
        Talk(box, path).open()
        Keeper(tmp_path, box.plane).save()
    with real() as box:
        assert told(box, path) == {"MSS": 1460 if path.family == 4 else 1440, "WScale": 7}
    with real() as box:
        keeper = Keeper(tmp_path, box.plane)
        keeper.load()
        assert keeper.problem is None
        assert told(box, path) == {"MSS": dict(ANSWER)["MSS"], "WScale": dict(ANSWER)["WScale"]}


def test_everything_known_survives(tmp_path: File) -> None:
    before = heard()
    path = tmp_path / "backends.json"
    statefile.write(path, content_of(before, time.time()))
    content = statefile.read(path)
    assert content is not None
    (after,) = parse(content, time.time())
    assert abs(after.pop("age_ms") - before[0]["age_ms"]) < 2000  # type: ignore[misc]  # compared by itself
    del before[0]["age_ms"]  # type: ignore[misc]
    assert after == before[0]


def test_what_was_heard_since_the_start_is_newer_than_the_file() -> None:
    (old,) = heard()
    with real() as box:
        Talk(box, s_options=[("MSS", 1200)]).open()
        assert box.plane.restore_backends([old]) == 0
        assert [one["mss"] for one in box.plane.backends()] == [1200]


def test_age_goes_on_while_nobody_runs() -> None:
    content = content_of(heard(), 1_000_000)
    (one,) = parse(content, 1_000_000 + 3 * DAY_S)
    assert 3 * DAY_S * 1000 <= one["age_ms"] < 3 * DAY_S * 1000 + 10_000
    with real() as box:
        box.plane.restore_backends([one])
        assert box.plane.backends()[0]["age_ms"] >= 3 * DAY_S * 1000


def test_a_clock_that_was_set_back_makes_nothing_younger_than_new() -> None:
    (one,) = parse(content_of(heard(), 1_000_000), 10_000)
    assert one["age_ms"] == 0


def test_what_is_too_old_is_forgotten() -> None:
    assert parse(content_of(heard(), 1_000_000), 1_000_000 + KEPT_S + 1) == []
    (one,) = heard()
    with real() as box:
        box.plane.restore_backends([{**one, "age_ms": KEPT_S * 1000 + 1000}])
        Talk(box, V6).open()
        assert box.plane.forget_backends(KEPT_S * 1000) == 1
        assert len(box.plane.backends()) == 1
        assert told(box) == {"MSS": 1460, "WScale": 7}


def test_a_pinned_service_announces_what_it_says() -> None:
    with Box(service(mss4=1300, wscale=2, sack=False, timestamps=False, pinned=True)) as box:
        for _ in range(2):
            talk = Talk(box, V4.other(box.now_ms % 60000), c_options=FULL)
            assert talk.syn().names == ("MSS", "WScale")
            assert talk.syn().option("WScale") == 2
            talk.ack()
            talk.synack(options=[("MSS", 1460), ("NOP", None), ("WScale", 9)])
            box.now_ms += 1
        assert box.plane.backends()[0]["wscale"] == 9  # heard all the same


def test_a_client_of_a_pinned_service_of_whom_only_the_cookie_is_left() -> None:
    with Box(service(wscale=2, pinned=True), half_open=4) as box:
        first = Talk(box, V4.other(5))
        first.open()  # its scale is 5
        talk = Talk(box)
        talk.syn()
        talk.flood()
        talk.ack()
        talk.synack()
        back = talk.server(b"x", window=1000).forwarded
        assert back.window == 1000 << 5 >> 2


ENTRY = content_of(heard(), time.time())["backends"][0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "is not JSON"),
        (b'{"version": 1, "backends": [', "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"version": 2, "backends": []}', "is of version 2"),
        (b'{"version": 1}', "has no list"),
        (b'{"version": 1, "backends": [1]}', "backend 0 is not an object"),
        (b'{"version": 1, "backends": [{}]}', "backend 0"),
        *(
            (json.dumps({"version": 1, "backends": [{**ENTRY, name: value}]}).encode(), "backend 0")
            for name, value in [
                ("address", "192.0.2.256"),
                ("port", 65536),
                ("port", True),
                ("mss", -1),
                ("wscale", 15),
                ("sack", 1),
                ("known", ["urgent"]),
                ("window", "64000"),
                ("seen_s", None),
            ]
        ),
    ],
)
def test_a_file_that_makes_no_sense_is_put_aside(content: bytes, wrong: str, tmp_path: File) -> None:
    path = tmp_path / "backends.json"
    path.write_bytes(content)
    with real() as box:
        keeper = Keeper(tmp_path, box.plane)
        keeper.load()
        assert wrong in str(keeper.problem)
        assert box.plane.backends() == []
        assert not path.exists()
        assert (tmp_path / "backends.json.unreadable").read_bytes() == content
        keeper.save()
        assert keeper.problem is None
        assert statefile.read(path) == {"version": 1, "backends": []}


def test_a_folder_that_cannot_be_written_is_said_and_no_more(tmp_path: File) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with real() as box:
        keeper = Keeper(tmp_path / "state", box.plane)
        keeper.save()
        assert keeper.problem is not None
        assert "cannot be written" in keeper.problem


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: File) -> None:
    path = tmp_path / "state.json"
    statefile.write(path, {"a": 1})
    assert path.stat().st_mode & 0o777 == 0o600
    statefile.write(path, {"a": 2})
    assert statefile.read(path) == {"a": 2}
    (tmp_path / "folder").mkdir()
    with pytest.raises(OperatorError, match="cannot be written"):
        statefile.write(tmp_path / "folder", {"a": 3})
    assert sorted(found.name for found in tmp_path.iterdir()) == ["folder", "state.json"], "no draft stays"


def test_a_file_that_is_too_large_is_not_read(tmp_path: File) -> None:
    path = tmp_path / "state.json"
    with path.open("wb") as file:
        file.truncate(statefile.MAX_FILE_BYTES + 1)
    with pytest.raises(UnreadableError, match="more than"):
        statefile.read(path)


def test_what_an_operator_is_shown() -> None:
    found: list[Backend] = [
        *heard(),
        {**heard()[0], "port": 443, "wscale": None, "known": ("wscale",)},
        {**heard(V6)[0], "port": 25},
        {**heard()[0], "address": bytes(15) + b"\x01"},
    ]
    lines = backends.report(found, CONFIG)
    assert [(one["address"], one["port"], one["service"], one["pinned"]) for one in lines] == [
        ("::1", 80, "", False),
        (V4.server, 80, "web", False),
        (V4.server, 443, "mail", True),
        (V6.server, 25, "mail", True),
    ]
    text = render(lines).splitlines()
    assert text[2].split()[:8] == [f"{V4.server}:80", "web", "1460", "5", "yes", "yes", "-", "64000"]
    assert text[3].split()[3:7] == ["none", "-", "-", "-"]
    assert text[3].endswith("pinned by its service")
    assert render([]) == "no server has been heard yet\n"
