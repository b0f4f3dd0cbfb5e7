"""Programs and NICs: how they are attached, found missing and put back, left to a successor, and taken away.

Two interfaces in a namespace of their own, no packet. What packets make of a change is the lab's test_programs.py.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from box.box import SECRET, service

from appliance import config, engines
from bpf.kernelbox import bpf_file_system, new_namespace, run
from cext.bpfengine import BpfEngine, remove_programs
from cext.dataplane import Dataplane, DataplaneConfig
from cext.errors import EngineError


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Path]:
    """A bpf file system, and a namespace with the interfaces `outside` and `inside`."""
    with new_namespace(), bpf_file_system(tmp_path / "bpf") as folder:
        for name in ("outside", "inside"):
            add(name)
        yield folder


def add(name: str) -> None:
    run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-end")
    for one in (name, f"{name}-end"):
        run("ip", "link", "set", one, "up")


def said(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def programs_on(name: str) -> tuple[bool, bool]:
    """Whether an interface has an XDP program, and a filter of ours."""
    filters = said("tc", "filter", "show", "dev", name, "ingress")
    return "prog/xdp" in said("ip", "link", "show", name), "lv_splice" in filters


def has_clsact(name: str) -> bool:
    return "clsact" in said("tc", "qdisc", "show", "dev", name)


@contextlib.contextmanager
def engine(pins: Path, outside: str = "outside", *, keep: bool = True, flows: int = 64) -> Iterator[BpfEngine]:
    """A daemon's life: started, and at its end gone without a trace of its own, or with its programs left at work."""
    with Dataplane(DataplaneConfig(secret=SECRET, flows=flows, half_open=4)) as plane:
        plane.set_services([service()])
        made = BpfEngine(plane, outside=outside, inside="inside", pin_folder=str(pins))
        made.start()
        try:
            yield made
        finally:
            made.stop(detach=not keep)


def test_native_on_an_interface_that_can(pins: Path) -> None:
    with engine(pins) as one:
        assert one.stats()["attached"] == "native"
        assert programs_on("outside") == (True, True)
        assert programs_on("inside") == (False, True)


def test_generic_is_said_by_a_successor_too(pins: Path) -> None:
    """macvlan has no XDP of its own (no ndo_bpf), so the kernel runs the program in the driver's place."""
    run("ip", "link", "add", "outer", "link", "outside", "type", "macvlan")
    run("ip", "link", "set", "outer", "up")
    for _ in range(2):
        with engine(pins, "outer") as one:
            assert one.stats()["attached"] == "generic"
            assert one.attached()


@pytest.mark.parametrize(
    "removal",
    [
        pytest.param(("bpftool", "link", "detach", "pinned", "{pins}/gate_link"), id="XDP"),
        pytest.param(("rm", "{pins}/gate_link"), id="the pin of the link"),
        pytest.param(("tc", "qdisc", "del", "dev", "outside", "clsact"), id="tc outside"),
        pytest.param(("tc", "filter", "del", "dev", "inside", "ingress"), id="tc inside"),
    ],
)
def test_what_someone_removed_is_put_back(pins: Path, removal: tuple[str, ...]) -> None:
    with engine(pins) as one:
        assert one.attached()
        run(*(word.format(pins=pins) for word in removal))
        assert not one.attached()
        one.attach()
        assert one.attached()
        assert (programs_on("outside"), programs_on("inside")) == ((True, True), (False, True))
    with engine(pins) as successor:
        assert successor.attached()


@pytest.mark.parametrize("name", ["outside", "inside"])
def test_an_interface_that_returns_gets_its_programs_back(pins: Path, name: str) -> None:
    with engine(pins) as one:
        run("ip", "link", "del", name)
        assert not one.attached()
        with pytest.raises(EngineError, match=f"{name}: there is no such interface"):
            one.attach()
        add(name)
        assert not one.attached()
        one.attach()
        assert one.attached()
        assert (programs_on("outside"), programs_on("inside")) == ((True, True), (False, True))


def test_a_successor_takes_over_where_the_predecessor_stopped(pins: Path) -> None:
    def link() -> str:
        return said("bpftool", "-j", "link", "show", "pinned", f"{pins}/gate_link").partition(",")[0]

    with engine(pins):
        first = link()
    assert programs_on("outside") == (True, True)
    with engine(pins):
        assert link() == first, "the link was replaced, not its program"


def test_a_successor_on_other_interfaces_leaves_nothing_on_the_old_ones(pins: Path) -> None:
    add("outer")
    with engine(pins):
        pass
    with engine(pins, "outer"):
        assert programs_on("outer") == (True, True)
        assert programs_on("outside") == (False, False)


def test_another_xdp_program_is_left_alone_and_named(pins: Path) -> None:
    with engine(pins):
        pass
    run("mv", str(pins / "gate_link"), str(pins / "another"))
    with pytest.raises(EngineError, match="Device or resource busy") as caught, engine(pins):
        pass
    assert caught.value.hint == "another XDP program is on outside: see `ip link show outside`"


def maps(pins: Path) -> set[str]:
    """What Levee pinned: the kernel and iproute2 keep things of their own in any bpf file system they find."""
    return {pin.name for pin in pins.iterdir() if pin.name.startswith(("lv_", "gate_"))}


@pytest.mark.parametrize(
    "name", ["lv_counts", "lv_service_tables", "lv_list_tables", "lv_config", "lv_flows", "lv_halfopen", "lv_half_tags"]
)
def test_maps_of_another_size_are_made_anew(pins: Path, name: str) -> None:
    """A predecessor of another version: its programs go on with its maps until they are replaced."""
    with engine(pins) as one:
        assert one.replaced == 0
    before = maps(pins)
    (pin,) = pins.glob(f"{name}-*")
    pin.unlink()
    run("bpftool", "map", "create", str(pin), "type", "array", "key", "4", "value", "8", "entries", "1", "name", "old")
    with engine(pins) as successor:
        together = {"lv_config", "lv_guards", "lv_list_tables", "lv_service_tables"}
        assert successor.replaced == (len(together) if name in together else 1)
        assert successor.attached()
    assert maps(pins) == before
    with engine(pins) as third:
        assert third.replaced == 0


def test_maps_of_another_layout_number_are_left_behind(pins: Path) -> None:
    with engine(pins):
        pass
    before = maps(pins)
    (pin,) = pins.glob("lv_counts-*")
    pin.rename(pins / "lv_counts-0")
    with engine(pins) as successor:
        assert successor.replaced == 1
    assert maps(pins) == before


def test_the_flow_table_keeps_its_size(pins: Path) -> None:
    with engine(pins, flows=64):
        pass
    with engine(pins, flows=128) as successor:
        assert successor.occupancy()["flows_capacity"] == 64


def test_removal_leaves_nothing(pins: Path) -> None:
    with engine(pins) as one:
        made = one.clsact_made
        assert set(made) == {"outside", "inside"}
    remove_programs(str(pins), forget=True, clsact=made)
    for name in ("outside", "inside"):
        assert programs_on(name) == (False, False)
        assert not has_clsact(name)
    assert not maps(pins)
    remove_programs(str(pins), forget=True, clsact=made)


def test_removal_leaves_what_others_need(pins: Path) -> None:
    """A clsact that was there before, and one that somebody else uses by now; the maps, unless they are to go."""
    run("tc", "qdisc", "add", "dev", "outside", "clsact")
    with engine(pins) as one:
        made = one.clsact_made
        assert made == ("inside",)
    run("tc", "filter", "add", "dev", "inside", "egress", "u32", "match", "u32", "0", "0")
    before = maps(pins)
    remove_programs(str(pins), forget=False, clsact=made)
    for name in ("outside", "inside"):
        assert programs_on(name) == (False, False)
        assert has_clsact(name)
    assert maps(pins) == before - {"gate_link"}


def chosen(folder: Path, pins: Path, head: str) -> None:
    """What a start does first with this configuration, and its end."""
    file = folder / "levee.yaml"
    file.write_text(
        f"version: 1\noutside: outside\ninside: inside\n{head}\nbpf: {{pin_dir: {pins}}}\nruntime_dir: {folder}/run\n"
        "services:\n  web: {addresses: [198.19.0.1], ports: [80]}\n"
    )
    (folder / "run").mkdir(exist_ok=True)
    engines.choose(config.load(file), SECRET).engine.close()


def test_another_engine_takes_away_what_this_one_left_at_work(pins: Path, tmp_path: Path) -> None:
    with engine(pins):
        pass
    before = maps(pins)
    chosen(tmp_path, pins, "mode: routed\nengine: nfqueue")
    assert (programs_on("outside"), programs_on("inside")) == ((False, False), (False, False))
    assert maps(pins) == before - {"gate_link"}


def test_this_engine_takes_away_the_rules_another_one_left(pins: Path, tmp_path: Path) -> None:
    for table in ("inet levee", "inet other"):
        run("nft", "add", "table", *table.split())
    chosen(tmp_path, pins, "mode: bridge\nbridge: br0\nengine: bpf")
    assert said("nft", "list", "tables").split("\n") == ["table inet other", ""]
