"""The bpf engine as the daemon sees it: programs on both NICs, and the data plane behind them.

Owns their life, the mount of the file system that keeps them, and what stands in for packet rules: here the programs
choose packets themselves. Called by engines.py. Must not know nftables or the control socket.
"""

from __future__ import annotations

import logging
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from appliance import footprint, offloads
from appliance.engine import OnDataplane, dataplane_config, explained, service_specs
from appliance.errors import OperatorError
from cext.bpfengine import BpfEngine as Programs
from cext.capture import Capture
from cext.dataplane import Dataplane
from cext.notes import Notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.models import Config, Service
    from cext.dataplane import AllCounters, Flow, FlowQuery, Occupancy
    from cext.nfqueue import QueueStats
    from cext.sourcelist import Span

LOG = logging.getLogger(__name__)

BPFFS_KIND = "bpf"


def mounted_bpffs(folder: Path, runtime_dir: Path) -> Path:
    """The folder, where programs and maps can be kept; mounts a file system there if need be. Raises OperatorError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    kinds = {line.split()[4]: line.split(" - ")[1].split()[0] for line in mounts}
    for place in (folder, *folder.parents):
        if str(place) in kinds:
            if kinds[str(place)] == BPFFS_KIND:
                return folder
            break
    footprint.save(runtime_dir, footprint.load(runtime_dir).with_mounted(folder))
    done = subprocess.run(["/bin/mount", "-t", "bpf", "bpf", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OperatorError(
            f"bpf.pin_dir: {folder}: cannot mount a bpf file system there: {done.stderr.strip()}",
            "mount one there: mount -t bpf bpf FOLDER, or give the process CAP_SYS_ADMIN",
        )
    return folder


class BpfEngine(OnDataplane):
    """Open from construction to close(). Raises OperatorError when something the operator can change is in the way."""

    name = "bpf"

    def __init__(self, config: Config, secret: bytes) -> None:
        self._undo = ExitStack()
        self._detach = False
        self._config = config
        self._turned_off: tuple[str, ...] = ()
        with ExitStack() as undo, explained():
            self._dataplane = Dataplane(dataplane_config(config, secret, kernel=True))
            undo.callback(self._dataplane.close)
            self._dataplane.set_services(service_specs(config))
            self._programs = Programs(
                self._dataplane,
                outside=config.outside,
                inside=config.inside,
                pin_folder=str(mounted_bpffs(config.pin_dir, config.runtime_dir)),
                fail_open=config.bpf.without_daemon == "pass",
                heartbeat_late_ms=config.bpf.heartbeat_late_ms,
            )
            self._programs.open()
            undo.callback(self._programs.close)
            self.capture = Capture(
                self._dataplane,
                choice_map=self._programs.map("lv_capture"),
                ring_map=self._programs.map("lv_captures"),
            )
            undo.callback(self.capture.close)
            self.notes = Notes(self._dataplane, ring_map=self._programs.map("lv_notes"))
            undo.callback(self.notes.close)
            self._undo = undo.pop_all()
        LOG.info("flow table ready: %d connections taken up", self._programs.taken_up)

    def start(self) -> None:
        """Attaches the programs; from here on they protect."""
        self._see_all_packets()
        with explained():
            self._programs.start()
        self._note_clsact()
        if self._programs.replaced:
            LOG.warning("%d tables of another version were made anew", self._programs.replaced)
        self._undo.callback(lambda: self._programs.stop(detach=self._detach))

    def _see_all_packets(self) -> None:
        """Turns off what the outside NIC would hide from the gate. It stays off until `levee stop --detach`."""
        outside, runtime_dir = self._config.outside, self._config.runtime_dir
        if hidden := offloads.hiding(outside):
            footprint.save(runtime_dir, footprint.load(runtime_dir).with_offloads(outside, tuple(hidden)))
            offloads.turn(outside, hidden, on=False)
        self._turned_off = footprint.load(runtime_dir).offloads.get(outside, ())

    def _note_clsact(self) -> None:
        if made := self._programs.clsact_made:
            runtime_dir = self._config.runtime_dir
            footprint.save(runtime_dir, footprint.load(runtime_dir).with_clsact(made))

    def close(self) -> None:
        """Ends the thread. The programs stay, unless remove() was called."""
        self._undo.close()

    def set_services(self, config: Config) -> None:
        """Replaces all services at once; open connections are not touched."""
        super().set_services(config)
        self._programs.publish_services()

    def set_lists(self, spans: Sequence[Span]) -> None:
        """Replaces the lists of blocked and allowed sources; their open connections are cut or go on."""
        super().set_lists(spans)
        self._programs.publish_lists()

    def failures(self) -> list[str]:
        """Why the thread ended by itself; empty while all is well."""
        return [self._programs.failure] if self._programs.failure is not None else []

    def counters(self) -> AllCounters:
        """Packets by service, event and drop reason."""
        return self._programs.counters()

    def occupancy(self) -> Occupancy:
        """How full the tables are."""
        return self._programs.occupancy()

    def flow_page(self, query: FlowQuery, cursor: int, limit: int) -> tuple[list[Flow], int | None]:
        """Connections from one part of the kernel's table, and where the next one begins. Raises OperatorError."""
        with explained():
            return self._programs.flow_page(query, cursor, limit)

    def queues(self) -> list[QueueStats]:
        """There are none."""
        return []

    # ---- what the daemon does with packet rules: these programs need none ----

    steered_by = "programs"

    @property
    def description(self) -> str:
        """For the operator: what takes the packets."""
        text = f"XDP ({self._programs.stats()['attached']}) on the outside NIC, tc on both"
        off = ", ".join(self._turned_off)
        return f"{text}; turned off on {self._config.outside}: {off}" if off else text

    def warnings(self) -> list[str]:
        """What keeps the programs from seeing packets as they came."""
        outside = self._config.outside
        return [
            f"{outside} hides packets from the gate: {feature} is on (ethtool -K {outside} {feature} off)"
            for feature in sorted(offloads.hiding(outside))
        ]

    def apply(self, config: Config, services: Sequence[Service]) -> None:  # noqa: ARG002
        """Puts the programs back where they are missing; which packets are theirs, set_services() has said."""
        if not self._programs.attached():
            self._see_all_packets()
            with explained():
                self._programs.attach()
            self._note_clsact()

    def remove(self, config: Config) -> None:  # noqa: ARG002
        """With close(), the programs come off; the flows stay for a successor, as the nfqueue engine's do."""
        self._detach = True

    def present(self, config: Config) -> bool:  # noqa: ARG002
        """Whether the programs are still on the NICs."""
        return self._programs.attached()
