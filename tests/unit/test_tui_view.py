"""What the terminal interface shows, without a terminal: rates, graphs, small edits of the configuration."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from chassis import settings
from hypothesis import given
from hypothesis import strategies as st
from screens.recorded import TEXT, Recorded

from appliance.config import loads
from appliance.errors import ConfigError, OperatorError
from appliance.tui import poll
from appliance.tui.view import box, edits, frame, limits, pages
from appliance.tui.view.graph import bars, graph, top_of_scale
from appliance.tui.view.line import Line, plain
from appliance.tui.view.rates import HOUR_S, MINUTE_S, SERIES, Meter
from appliance.tui.view.snapshot import Asked, Snapshot
from appliance.yamldoc import parse

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))


def minute(box: Recorded) -> Snapshot:
    snapshot = Snapshot()
    while not box.over:
        snapshot = poll.ask(box, "overview", Asked(), snapshot)
    return snapshot


@given(st.lists(st.none() | st.floats(0, 1e12), min_size=1, max_size=60), st.integers(1, 12))
def test_a_graph_has_its_size_and_shows_whatever_is_not_nothing(values: list[float | None], rows: int) -> None:
    top = top_of_scale(max((one for one in values if one is not None), default=0.0))
    drawn = bars(values, rows, top)
    assert [len(row) for row in drawn] == [len(values)] * rows
    "".join(drawn).encode("cp437")
    for value, cell in zip(values, drawn[-1], strict=True):
        assert (cell in "\u2584\u2588") == bool(value)
    assert len(graph("SYNs", 1.0, values, max(rows, 2))) == max(rows, 2) + 1


@given(st.floats(0, 1e15))
def test_a_scale_is_round_and_not_below(most: float) -> None:
    top = top_of_scale(most)
    assert top >= most
    assert str(top).rstrip("0") in ("1", "2", "5")


def test_rates_are_those_of_the_last_minute_and_hour() -> None:
    snapshot = minute(Recorded())
    meter = snapshot.meter
    assert meter.latest("SYNs") > 160_000
    series = meter.series("SYNs", MINUTE_S, 60)
    assert None not in series[1:]
    assert (series[5] or 0) < 1000 < 160_000 < (series[-1] or 0)
    assert meter.series("SYNs", HOUR_S, 60)[-2] is not None or meter.series("SYNs", HOUR_S, 60)[-1] is not None
    assert meter.series("SYNs", HOUR_S, 60)[0] is None
    assert meter.latest("dropped") < 10_000, "what was answered with a cookie is no loss"


def test_a_daemon_that_began_again_makes_no_peak() -> None:
    meter = Meter()
    box = Recorded()
    first = box.status()
    meter.take(first, 1.0)
    meter.take(box.status(), 2.0)
    meter.take(first, 3.0)  # counters went back
    assert all(meter.latest(name) == 0 for name in SERIES)


@pytest.mark.parametrize("width", [80, 100, 140, 200])
@pytest.mark.parametrize("state", ["PROTECTING", "ATTACK", "DEGRADED", "BYPASS"])
def test_nothing_is_wider_than_the_screen(width: int, state: str) -> None:
    box = Recorded(state=state, pending=True, problems=("a long problem " * 20,))
    snapshot = minute(box)
    for page in ("events", "backends", "blocked", "flows", "configuration"):
        snapshot = poll.ask(box, page, Asked(), snapshot)
    shown: list[Line] = [*frame.banner(snapshot, width), frame.tabs("overview", width)]
    shown += [frame.keys(page, snapshot, width) for page in frame.KEYS]
    for draw in pages.BY_NAME.values():
        shown += draw(snapshot, Asked(), width, 20)
    shown += pages.service("web", snapshot, width)
    for one in shown:
        assert len(one.text) <= width, one.text
        plain(one.text).encode("ascii")


def test_every_page_has_its_keys_and_every_key_its_command() -> None:
    assert set(frame.KEYS) == {*pages.BY_NAME, "service", "entry", "capture", "help", "box"}
    for keys in (*frame.KEYS.values(), frame.BOX):
        for one in keys:
            assert one.command.startswith("levee "), one


def test_before_login_no_client_and_no_key_that_changes_anything_is_shown() -> None:
    box = Recorded(state="BYPASS", pending=True, problems=("the rules were removed",))
    snapshot = minute(box)
    for page in ("events", "backends", "blocked", "flows", "configuration"):
        snapshot = poll.ask(box, page, Asked(), snapshot)
    drawn = [*frame.banner(snapshot, 80, watching=True), frame.WATCHING_TITLE, frame.watching_keys()]
    drawn += pages.overview(snapshot, Asked(watching=True), 80, 20)
    text = "\n".join(one.text for one in drawn)
    for address in [one["client"] for one in snapshot.flows] + [one["prefix"] for one in snapshot.blocked]:
        assert address not in text
    for words in ("keep it", "undo it", "b ends it", "then d"):
        assert words not in text
    assert "on trial" in text.lower()


def test_without_an_answer_the_reason_is_shown() -> None:
    snapshot = Snapshot(error="/run/levee/control.sock: no levee is running here")
    assert "NO ANSWER" in frame.banner(snapshot, 80)[0].text
    assert "does not answer" in "".join(one.text for one in pages.overview(snapshot, Asked(), 80, 20))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
@pytest.mark.parametrize("protect", ["always", "auto", "off"])
def test_protection_is_changed_in_every_example_and_nothing_else(path: Path, protect: str) -> None:
    text = path.read_text()
    before = loads(text.encode(), path.name)
    for name, service in before.services.items():
        if service.trap is not None or (protect == "off" and "per_source" in service.model_fields_set):
            continue  # refused by the check of any text, and rightly
        after = loads(edits.set_protect(text, name, protect).encode(), path.name)
        assert after.services[name] == service.model_copy(update={"protect": protect})
        assert {one: after.services[one] for one in after.services if one != name} == {
            one: before.services[one] for one in before.services if one != name
        }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_service_is_added_to_every_example(path: Path) -> None:
    text = path.read_text()
    before = loads(text.encode(), path.name)
    changed = edits.add_service(
        text, "added-here", "198.18.250.1 198.18.250.8/29, 2001:db8:fade::1", "80, 8000-8100", "auto"
    )
    after = loads(changed.encode(), path.name)
    assert set(after.services) == {*before.services, "added-here"}
    assert after.services["added-here"].protect == "auto"
    assert len(after.services["added-here"].addresses) == 3
    compared = difflib.ndiff(text.splitlines(), changed.splitlines())
    assert not [one for one in compared if one.startswith("-")], "something was taken away"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_limits_are_set_and_taken_away_in_every_example_and_nothing_else(path: Path) -> None:
    text = path.read_text()
    before = loads(text.encode(), path.name)
    for name, service in before.services.items():
        if service.trap is not None or service.protect == "off":
            continue  # refused by the check of any text, and rightly
        values = {"new_per_s": "17", "open": "", "over": "block", "block_for": "3m"}
        limited = limits.set_limits(text, name, values)
        after = loads(limited.encode(), path.name)
        found = after.services[name].per_source
        assert (found.new_per_s, found.open, found.over, found.block_for) == (17, None, "block", 180)
        assert edits.value_of(limited, ("services", name, "per_source", "new_per_s")) == "17"
        assert after.services[name].model_copy(update={"per_source": service.per_source}) == service
        assert {one: after.services[one] for one in after.services if one != name} == {
            one: before.services[one] for one in before.services if one != name
        }
        without = loads(limits.set_limits(limited, name, dict.fromkeys(values, "")).encode(), path.name)
        assert not without.services[name].per_source.any


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_service_is_changed_in_every_example_and_nothing_else(path: Path) -> None:
    text = path.read_text()
    before = loads(text.encode(), path.name)
    for name, service in before.services.items():
        if service.forward_to is not None:
            continue  # for a single port
        as_it_is = {key: edits.value_of(text, ("services", name, key)) for key in ("addresses", "ports", "protect")}
        assert edits.change_service(text, name, as_it_is, as_it_is) == text
        wanted = {"addresses": "203.0.113.1 2001:db8:fade::/64", "ports": "7, 9-11", "protect": as_it_is["protect"]}
        if path.name == "complete.yaml":  # each item of its lists has a comment
            with pytest.raises(OperatorError, match="addresses: is written in a way"):
                edits.change_service(text, name, as_it_is, wanted)
            continue
        after = loads(edits.change_service(text, name, as_it_is, wanted).encode(), path.name)
        assert [str(one) for one in after.services[name].addresses] == ["203.0.113.1", "2001:db8:fade::/64"]
        assert [str(one) for one in after.services[name].ports] == ["7", "9-11"]
        rest = {"addresses": service.addresses, "ports": service.ports}
        assert after.services[name].model_copy(update=rest) == service
        assert {one: after.services[one] for one in after.services if one != name} == {
            one: before.services[one] for one in before.services if one != name
        }


LISTS = (
    "a:\n  b:\n    - 1\n    - 2\n  c: 3\n",
    "a:\n  b:\n  - 1\n  - 2\n  c: 3\n",
    "a:\n  c: 3\n  b:\n    - 1\n    - 2",
)


@pytest.mark.parametrize("text", LISTS)
def test_a_list_over_several_lines_gives_way(text: str) -> None:
    assert parse(edits.set_key(text, ("a", "b"), "[7]")).value == {"a": {"b": (7,), "c": 3}}
    with pytest.raises(OperatorError, match="not understood"):
        edits.set_key(text.replace("- 1", "- 1  # why"), ("a", "b"), "[7]")


WRITTEN = {
    "below": "services:\n  web:\n    ports: all  # every one\n    per_source:\n      open: 5  # few\n# the end\n",
    "in braces": "services:\n  web: {ports: all, per_source: {open: 5}}  # few\n",
    "all in braces": 'services: {"web": {ports: all, per_source: {open: 5,},}}\n',
    "over lines": "services:\n  web: {ports: all,  # every one }\n    per_source: {open: 5}  # few\n  }\n",
    "quoted": "services:\n  web:\n    ports: \"all\"\n    per_source: {open: '5'}",
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("value", ["7", '"a # b"', "[1, 2]", "{a: 1}"])
def test_a_value_is_replaced_added_and_taken_away_in_every_style(text: str, value: str) -> None:
    expected = parse(value).value
    place = ("services", "web", "per_source")
    for path in ((*place, "open"), (*place, "over"), ("services", "web", "vlan"), ("services", "mail"), ("mtu",)):
        changed = edits.set_key(text, path, value)
        document = parse(changed)
        assert not document.problems, changed
        found = document.value
        for part in path:
            assert isinstance(found, dict)
            found = found[part]
        assert found == expected, changed
        assert changed.count("#") >= text.count("#")
        again = parse(edits.set_key(changed, path, ""))
        assert not again.problems
        assert path not in again.keys
        assert len(again.keys) == len(parse(text).keys) - 2 * (path == (*place, "open"))


@pytest.mark.parametrize("text", ["version: 1\n", "services: [web]\n", "services: {web: 1\n", ""])
def test_what_is_not_understood_is_left_to_the_editor(text: str) -> None:
    with pytest.raises(OperatorError, match="not understood"):
        edits.set_protect(text, "web", "auto")
    with pytest.raises(OperatorError, match="not understood"):
        edits.add_service(text, "web", "192.0.2.1", "80", "always")
    with pytest.raises(OperatorError, match="not understood"):
        edits.set_protect(TEXT, "unknown", "auto")


@pytest.mark.parametrize("left_s", [None, 90])
@pytest.mark.parametrize("here", [True, False])
def test_the_page_of_the_box_has_a_line_for_each_key(left_s: int | None, *, here: bool) -> None:
    text = f'version: 1\nname: {"n" * 63}\nmanagement: {{address: 2001:db8::1/64, ntp: ["2001:db8::2", 192.0.2.1]}}\n'
    shown = box.page(Snapshot(box={"here": here, "settings": text, "keys": ["a"], "left_s": left_s}), 80)
    assert [one.key for one in shown if one.key] == [one.key for one in frame.BOX]
    assert all(len(one.text) <= 80 for one in shown)
    said = "\n".join(one.text for one in shown)
    assert ("2001:db8::2, 192.0.2.1" in said) is here
    assert ("ON TRIAL: back in 90 s" in said) is (here and left_s is not None)
    assert ("not the bootable appliance" in said) is not here


def test_the_form_of_the_box_changes_its_file_and_nothing_else() -> None:
    before = "# mine\nversion: 1\noutside: pci-0000:02:00.0 # left\n"
    filled = {
        "name": "gate",
        "address": "2001:db8::1/64",
        "gateway": "2001:db8::ff",
        "port": "00:11:22:33:44:55",
        "ntp": "192.0.2.1 2001:db8::2",
    }
    text = box.changed(before, box.values(before), filled)
    assert text.startswith(before)
    found = settings.loads(text.encode(), "box.yaml")
    assert found.name == "gate"
    assert found.management is not None
    assert str(found.management.address) == "2001:db8::1/64"
    assert len(found.management.ntp) == 2
    assert box.values(text) == {**filled, "ntp": "192.0.2.1, 2001:db8::2"}
    emptied = box.changed(text, box.values(text), dict.fromkeys(filled, ""))
    assert settings.loads(emptied.encode(), "box.yaml").management is None
    with pytest.raises(ConfigError) as found_wrong:
        settings.loads(box.changed(before, box.values(before), {**filled, "ntp": 'x", y'}).encode(), "box.yaml")
    assert set(box.wrong(found_wrong.value.problems)) == {"ntp"}
