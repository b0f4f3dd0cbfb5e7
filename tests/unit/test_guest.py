"""The guest's decisions that need no guest: mirrors, package lists, kernel images, KVM, consoles."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from guest.boot import Ending, judge_console
from guest.chroot import local_paths
from guest.kernel import insertion_order, payload_of
from guest.layout import GuestError
from guest.machine import kvm_usable
from guest.mirror import fetch_options, parse_targets
from guest.userland import parse_apt_list

TARGETS = """\
http://mirror.test/security/|bookworm-security|bookworm-security|main|$(SIGNED_BY)
http://mirror.test/debian/|bookworm-updates|bookworm-updates|main|$(SIGNED_BY)
http://tools.test/apt/|bookworm|stable|tools|/usr/share/keyrings/tools.gpg
http://mirror.test/debian/|bookworm|bookworm|main|/usr/share/keyrings/debian.gpg
"""


def test_mirror_is_the_hosts_main_archive_with_its_keyring() -> None:
    assert parse_targets(TARGETS, "bookworm") == ("http://mirror.test/debian/", "/usr/share/keyrings/debian.gpg")


def test_mirror_without_stated_keyring_leaves_the_choice_to_apt() -> None:
    text = "http://mirror.test/debian/|trixie|stable|main|$(SIGNED_BY)\n"
    assert parse_targets(text, "trixie") == ("http://mirror.test/debian/", "")


def test_host_without_main_archive_is_told_so() -> None:
    with pytest.raises(GuestError, match="trixie/main"):
        parse_targets(TARGETS, "trixie")


def test_fetch_options_are_proxies_and_checks_and_nothing_else() -> None:
    dump = """\
APT::Architecture "amd64";
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.test:3128/";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
"""
    assert fetch_options(dump) == (
        'Acquire::http::Proxy "http://proxy.test:3128/";',
        'Acquire::Check-Valid-Until "false";',
    )


def test_apt_list_gives_the_packages_of_the_named_paragraphs() -> None:
    text = "# A list of\n# packages.\n\n# build: why\ngcc\nmake\n\n# docs: manuals\ntexlive\n\n# lab\ncurl\n"
    assert parse_apt_list(text, ("build", "lab")) == ("gcc", "make", "curl")


def test_apt_list_without_a_wanted_paragraph_is_an_error() -> None:
    with pytest.raises(GuestError, match="lab"):
        parse_apt_list("# build: compiling\ngcc\n", ("build", "lab"))


def bzimage(payload: bytes, setup_sectors: int = 2) -> bytes:
    start = (setup_sectors + 1) * 512
    image = bytearray(start + 16)
    image[0x1F1] = setup_sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 16, len(payload) + 4)
    return bytes(image) + payload + struct.pack("<I", 1000)


@pytest.mark.parametrize("magic", [b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0"], ids=["zstd", "xz"])
def test_kernel_payload_is_found_behind_the_setup_sectors(magic: bytes) -> None:
    payload = magic + b"packed kernel"
    assert payload_of(bzimage(payload)) == payload


@pytest.mark.parametrize("image", [b"", bytes(0x300), bzimage(b"\x1f\x8b packed otherwise")])
def test_other_kernel_images_are_refused(image: bytes) -> None:
    with pytest.raises(GuestError):
        payload_of(image)


def test_modules_are_inserted_after_what_they_need() -> None:
    dependencies = """\
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/net/9p/9pnet.ko.xz: kernel/fs/netfs/netfs.ko.xz
"""
    names = [Path(path).name for path in insertion_order(("9p",), dependencies)]
    assert names == ["netfs.ko.xz", "9pnet.ko.xz", "9p.ko.xz"]


def test_what_is_built_in_is_not_inserted() -> None:
    dependencies = "kernel/fs/9p/9p.ko:\n"
    assert insertion_order(("virtio_pci", "9p"), dependencies, "kernel/drivers/virtio/virtio_pci.ko\n") == [
        "kernel/fs/9p/9p.ko"
    ]
    with pytest.raises(GuestError, match="virtio_pci"):
        insertion_order(("virtio_pci", "9p"), dependencies)


@pytest.mark.parametrize(
    ("flags", "paravirtual", "device", "usable"),
    [
        ("fpu vmx sse", False, True, True),
        ("fpu svm sse", False, True, True),
        ("fpu sse", False, True, False),
        ("fpu vmx sse", True, True, False),
        ("fpu vmx sse", False, False, False),
    ],
)
def test_kvm_is_used_only_where_stock_kernels_run(flags: str, paravirtual: bool, device: bool, usable: bool) -> None:
    cpuinfo = f"processor : 0\nmodel name : vmx of no make\nflags : {flags}\n"
    assert kvm_usable(cpuinfo, paravirtual=paravirtual, device_usable=device) is usable


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("[    2.1] bridge: filtering via arp/ip/ip6tables is no longer available", None),
        ("[    2.1] Oops: int3: 0000 [#1] PREEMPT SMP", Ending.KNOWN_OOPS),
        ("[    2.1] int3: 0000 [#1] SMP\n[    2.2] Kernel panic - not syncing: Fatal exception", Ending.KNOWN_OOPS),
        ("[    9.0] Kernel panic - not syncing: Attempted to kill init!", Ending.CRASHED),
        ("[    9.0] BUG: kernel NULL pointer dereference, address: 0", Ending.CRASHED),
    ],
)
def test_console_tells_the_known_oops_from_other_crashes(text: str, ending: Ending | None) -> None:
    assert judge_console(text) is ending


def test_pip_options_name_local_folders() -> None:
    assert local_paths("file:///srv/index/simple https://index.test/simple") == [Path("/srv/index")]
    assert local_paths("/srv/wheels /etc/ssl/bundle.pem") == [Path("/srv/wheels"), Path("/etc/ssl/bundle.pem")]
