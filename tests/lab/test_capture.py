"""`levee capture` on the wire: a connection and a flood, in a file that other programs read."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from netlab.flood import FloodSpec, run_flood
from netlab.process import in_namespace
from netlab.session import Lab, wait_until
from netlab.streams import meanwhile
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapNgReader

LIMIT_S = 60
SYNS = 30_000
RATE_PPS = 10_000
Captured = list[tuple[str, Ether]]  # comments, frames


class Capture:
    """`levee capture` beside a test; it has begun when the daemon refuses another one."""

    def __init__(self, lab: Lab, path: Path, *arguments: str) -> None:
        argv = [str(lab.appliance.levee), "capture", "-w", str(path), "--socket", str(lab.names.socket), *arguments]
        self.path = path
        self.process = subprocess.Popen(
            in_namespace(lab.names.box, argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert wait_until(lambda: path.exists() and path.stat().st_size > 0, LIMIT_S)

    def end(self) -> tuple[Captured, str]:
        """What is in the file, and what was said."""
        try:
            _, said = self.process.communicate(timeout=LIMIT_S)
        finally:
            self.process.kill()
        assert self.process.returncode == 0, said
        with RawPcapNgReader(str(self.path)) as reader:
            packets: list[Any] = list(reader)  # Scapy's type names no field of pcapng
        return [(about.comments[0].decode(), Ether(data)) for data, about in packets], said


def test_a_connection_with_what_became_of_each_packet(lab: Lab, family: int, tmp_path: Path) -> None:
    address = lab.client_address(family)
    with lab.listen(family) as listener:
        port = listener.getsockname()[1]
        arguments = ("--address", address, "--service", "lab", "--seconds", "2", "--snap", "2048")
        capture = Capture(lab, tmp_path / "one.pcapng", *arguments)
        with lab.connect(family, port) as made, listener.accept()[0] as served:
            own = made.getsockname()[1]
            made.sendall(b"ping")
            assert served.recv(10) == b"ping"
        found, said = capture.end()
    mine = [(text, frame[TCP]) for text, frame in found if TCP in frame and own in (frame[TCP].sport, frame[TCP].dport)]
    text, syn = mine[0]
    assert text.startswith("dropped syn_answered (SYN answered with a cookie")
    assert text.endswith("service lab")
    assert syn.flags == "S"
    sent = [segment for text, segment in mine if text.startswith("sent")]
    synack = next(segment for segment in sent if segment.flags.S and segment.flags.A)
    to_server = next(segment for segment in sent if segment.flags.S and not segment.flags.A)
    assert (synack.ack, to_server.seq) == (syn.seq + 1, syn.seq)
    assert any(text.startswith("dropped cookie_accepted") for text, _ in mine)
    assert [bytes(segment.payload) for text, segment in mine if text.startswith("translated")].count(b"ping") <= 1
    assert b"ping" in [bytes(segment.payload)[:4] for segment in sent]
    assert re.search(r"^\d+ packets, 0 more found no room in time; the time is over$", said, re.MULTILINE), said


@pytest.mark.usefixtures("no_forged_packet")
def test_under_attack_it_is_bounded_and_chooses(lab: Lab, tmp_path: Path) -> None:
    """Only what was asked for, no more than asked for, and clients connect."""
    server = lab.server_address(4)
    before = lab.status()["drops"]["syn_answered"]
    capture = Capture(lab, tmp_path / "flood.pcapng", "--reason", "syn_answered", "--packets", "300", "--seconds", "50")
    flood = FloodSpec("syn", server, SYNS, 50, rate_pps=RATE_PPS)
    with (
        lab.listen(4) as listener,
        meanwhile(lambda: run_flood(lab.names, lab.mode, flood), LIMIT_S),
        lab.connect(4, listener.getsockname()[1]),
        listener.accept()[0],
    ):
        pass
    found, said = capture.end()
    assert len(found) == 300
    assert all(text.startswith("dropped syn_answered") and frame[TCP].flags.S for text, frame in found)
    assert "300 packets are enough" in said
    assert lab.status()["drops"]["syn_answered"] > before


def test_who_asks_and_goes_away_leaves_nothing_behind(lab: Lab, tmp_path: Path) -> None:
    """SIGKILL: the next one is refused until the daemon has noticed, and then is not."""
    first = Capture(lab, tmp_path / "first.pcapng", "--seconds", "600")
    first.process.kill()
    first.process.communicate(timeout=LIMIT_S)
    argv = [str(lab.appliance.levee), "capture", "--seconds", "1", "--socket", str(lab.names.socket)]

    def again() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            in_namespace(lab.names.box, argv), capture_output=True, text=True, timeout=LIMIT_S, check=False
        )

    assert "a capture by root goes on" in again().stderr
    assert wait_until(lambda: again().returncode == 0, LIMIT_S)


def test_lines_for_a_terminal(lab: Lab) -> None:
    with lab.listen(4) as listener:
        port = listener.getsockname()[1]
        argv = [str(lab.appliance.levee), "capture", "--packets", "1", "--reason", "sent"]
        argv += ["--socket", str(lab.names.socket), "--seconds", "50"]
        with subprocess.Popen(
            in_namespace(lab.names.box, argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            limit = time.monotonic() + LIMIT_S
            while process.poll() is None:
                assert time.monotonic() < limit
                with lab.connect(4, port), listener.accept()[0]:
                    time.sleep(0.05)
            assert process.stdout is not None
            shown = process.stdout.read()
    ends = f"{lab.server_address(4)}:{port} > {lab.client_address(4)}:"
    assert re.fullmatch(
        rf"\d\d:\d\d:\d\d\.\d{{6}}   to outside {re.escape(ends)}\d+ TCP .*: sent, service lab\n", shown
    )
