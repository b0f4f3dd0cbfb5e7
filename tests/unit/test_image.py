"""The image's decisions that need no image: ports, box.yaml, what is taken from the stick, the layout of the disk."""

from __future__ import annotations

import getpass
import grp
import itertools
import os
import struct
from pathlib import Path

import pytest
from chassis import health, settings, stick
from chassis.ports import Nic, Roles, choose, commands, nics, table
from guest.layout import GuestError
from guest.mirror import parse_security
from recipe import disk, slot
from recipe.places import DISK_MIB, PARTITIONS, SOURCES

from appliance import config
from appliance.errors import ConfigError, OperatorError

ONE = Nic("pci-0000:01:00.0", "02:00:00:00:00:01", "eth1")
TWO = Nic("pci-0000:02:00.0", "02:00:00:00:00:02", "eth0")
THREE = Nic("pci-0000:03:00.0-port1", "02:00:00:00:00:03", "eth2")
ALL = (ONE, TWO, THREE)
ADDRESSED = "version: 1\nmanagement: {address: 192.0.2.10/24, gateway: 192.0.2.1, ntp: [192.0.2.2]}\n"


def read(text: str) -> settings.Settings:
    return settings.loads(text.encode(), "box.yaml")


def test_ports_without_names_are_taken_by_path() -> None:
    assert choose(settings.Settings(), ALL) == Roles(ONE, TWO, None)
    assert choose(read(ADDRESSED), ALL) == Roles(ONE, TWO, THREE)


def test_named_ports_leave_the_rest_to_the_others() -> None:
    text = f'version: 1\noutside: "{THREE.mac.upper()}"\ninside: {ONE.path}\nmanagement: {{address: 192.0.2.10/24}}\n'
    assert choose(read(text), ALL) == Roles(THREE, ONE, TWO)


def test_a_named_port_that_is_not_there_is_not_replaced_by_another() -> None:
    assert choose(read("version: 1\ninside: pci-0000:09:00.0\n"), ALL) == Roles(ONE, None, None)


def test_two_ports_can_swap_their_names() -> None:
    one, two = Nic(ONE.path, ONE.mac, "inside"), Nic(TWO.path, TWO.mac, "outside")
    lines = commands(settings.Settings(), Roles(one, two, None), (one, two), bridge_exists=True)
    renames = [line.split()[3::2] for line in lines if " name " in line]
    assert renames == [["inside", "port0"], ["outside", "port1"], ["port0", "outside"], ["port1", "inside"]]


def test_bridge_ports_say_nothing_of_themselves() -> None:
    lines = commands(settings.Settings(mtu=9000), Roles(ONE, TWO, None), ALL, bridge_exists=False)
    for name in ("outside", "inside", "br0"):
        assert f"link set dev {name} arp off multicast off addrgenmode none" in lines
        assert f"link set dev {name} up" in lines
    assert "link set dev inside mtu 9000" in lines
    assert any("stp_state 0" in line and "mcast_snooping 0" in line for line in lines)


def test_table_shows_every_port_and_its_use() -> None:
    text = table(ALL, Roles(ONE, TWO, None))
    assert [line.split()[2:] for line in text.splitlines()[1:]] == [["outside"], ["inside"], ["(not", "used)"]]


def test_nics_are_found_by_their_path(tmp_path: Path) -> None:
    for name, slot_name, dev_port in (("eth0", "0000:02:00.0", "1"), ("eth1", "0000:01:00.0", "0")):
        device = tmp_path / "devices" / slot_name
        device.mkdir(parents=True)
        (tmp_path / "bus/pci").mkdir(parents=True, exist_ok=True)
        (device / "subsystem").symlink_to(tmp_path / "bus/pci")
        link = tmp_path / "net" / name
        link.mkdir(parents=True)
        (link / "device").symlink_to(device)
        for file, text in (("type", "1"), ("dev_port", dev_port), ("address", "02:00:00:00:00:01")):
            (link / file).write_text(f"{text}\n")
    (tmp_path / "net/lo").mkdir()
    assert [nic.path for nic in nics(tmp_path / "net")] == ["pci-0000:01:00.0", "pci-0000:02:00.0-port1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1:1: configuration: nothing is not a mapping"),
        ("outside: pci-0000:01:00.0\n", "1:1: configuration: has no version"),
        ("version: 2\n", "1:10: version: 2 is out of bounds"),
        ("version: 1\noutside: eth0\n", "2:10: outside: eth0 is not a port"),
        ("version: 1\nnic: x\n", "2:1: nic: is not a known key"),
        ("version: 1\nmtu: 100\n", "2:6: mtu: 100 is out of bounds"),
        ("version: 1\nmanagement:\n", "2:1: management: has no address"),
        ("version: 1\nmanagement: {port: pci-0000:01:00.0}\n", "2:1: management: has no address"),
        ("version: 1\nmanagement: {address: 192.0.2.1}\n", "management.address: 192.0.2.1 is not an address with"),
        ("version: 1\nmanagement: {address: 192.0.2.1/24, gateway: 198.51.100.1}\n", "is not in the network"),
        ("version: 1\nmanagement: {address: 192.0.2.1/24, ntp: 192.0.2.1}\n", "is not a list of addresses"),
        ("version: 1\noutside: pci-0000:01:00.0\ninside: pci-0000:01:00.0\n", "gives one port two uses"),
    ],
)
def test_mistakes_in_box_yaml_have_their_places(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert said in caught.value.message


@pytest.mark.parametrize("name", ["levee.yaml", "box.yaml"])
def test_files_as_delivered_are_right(name: str) -> None:
    data = (SOURCES / "stick" / name).read_bytes()
    loads = config.loads if name == "levee.yaml" else settings.loads
    loads(data.replace(b"\n", b"\r\n"), name)


@pytest.fixture
def item(tmp_path: Path) -> stick.Item:
    mine = (getpass.getuser(), grp.getgrgid(os.getgid()).gr_name)
    return stick.Item("box.yaml", settings.loads, tmp_path / "taken.yaml", 0o644, mine)


def test_a_right_file_is_taken_once(item: stick.Item, tmp_path: Path) -> None:
    folder, seen = tmp_path / "stick", tmp_path / "seen"
    folder.mkdir()
    seen.mkdir()
    assert stick.take(item, folder, seen) is None
    (folder / "box.yaml").write_text("version: 1\n")
    assert stick.take(item, folder, seen) == "box.yaml taken"
    item.target.write_text("version: 1\nmtu: 1500\n")  # a change made on the box
    assert stick.take(item, folder, seen) is None
    assert "mtu" in item.target.read_text()


def test_a_wrong_file_changes_nothing_and_is_told_why(item: stick.Item, tmp_path: Path) -> None:
    item.target.write_text("version: 1\n")
    (tmp_path / "box.yaml").write_text("version: 3\n")
    said = stick.take(item, tmp_path, tmp_path)
    assert said is not None
    assert item.target.read_text() == "version: 1\n"
    assert "box.yaml:1:10: version" in (tmp_path / "box.yaml.refused").read_text()
    (tmp_path / "box.yaml").write_text("version: 1\n")
    seen = tmp_path / "seen"
    seen.mkdir()
    assert stick.take(item, tmp_path, seen) == "box.yaml taken"
    assert not (tmp_path / "box.yaml.refused").exists()


def test_a_private_key_is_refused() -> None:
    stick.check_keys(b"# mine\nssh-ed25519 AAAA me\n\n", "authorized_keys")
    with pytest.raises(OperatorError, match="private key"):
        stick.check_keys(b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "authorized_keys")


def test_slot_is_read_from_the_command_line() -> None:
    assert health.slot("BOOT_IMAGE=/boot/vmlinuz rauc.slot=B quiet") == "B"


def test_partitions_follow_each_other() -> None:
    for one, following in itertools.pairwise(PARTITIONS):
        assert one.start_mib + one.size_mib == following.start_mib
    assert PARTITIONS[-1].start_mib + PARTITIONS[-1].size_mib < DISK_MIB
    assert disk.table("x").count("start=") == len(PARTITIONS)


def test_boot_code_is_told_where_its_parts_are() -> None:
    code, core = disk.boot_code(bytes(512), bytes(1024), 2048)
    assert len(code) == 440
    assert struct.unpack_from("<Q", code, 0x5C) == (2048,)
    assert struct.unpack_from("<Q", core, 0x1F4) == (2049,)


def test_text_with_the_root_hash_follows_the_last_block_of_the_squashfs() -> None:
    head = b"hsqs" + bytes(36) + struct.pack("<Q", 4097) + bytes(48)
    assert slot.squashfs_blocks(head) == 2
    with pytest.raises(GuestError, match="no squashfs"):
        slot.squashfs_blocks(bytes(96))
    line = slot.verity_line(f"Salt:  \tff\nRoot hash:      \t{'ab' * 32}\n")
    assert line.startswith(b"LEVEE1 roothash=abab")
    assert len(line) == 4096
    with pytest.raises(GuestError, match="no root hash"):
        slot.verity_line("Salt: ff\n")


def test_security_archive_is_found_among_the_hosts() -> None:
    text = "http://mirror.test/debian/|bookworm|bookworm|main|x\nhttp://mirror.test/s/|bookworm-security|y|main|x\n"
    assert parse_security(text) == "http://mirror.test/s/"
    assert parse_security(text.splitlines()[0]) == ""
