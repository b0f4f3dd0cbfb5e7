"""What the verifier of this kernel says of the programs, and how far they are from its limits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from box.box import SECRET

from bpf.cases import SERVICES
from bpf.kernelbox import KernelBox
from cext.dataplane import DataplaneConfig

_INSTRUCTIONS_MAX = 1_000_000  # BPF_COMPLEXITY_LIMIT_INSNS, linux/bpf.h


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelBox]:
    config = DataplaneConfig(secret=SECRET, flows=64, half_open=4)
    with KernelBox(tmp_path_factory.mktemp("verifier"), config, SERVICES, working=False) as one:
        yield one


def test_instructions(box: KernelBox, capsys: pytest.CaptureFixture[str]) -> None:
    """Half the limit is left: another compiler's code, or an older verifier, may need more."""
    with capsys.disabled():
        print(f"\n{'program':<20}{'instructions':>14}{'states':>10}{'peak states':>14}  stack, bytes a frame")
        for one in box.stats:
            print(f"{one.program:<20}{one.instructions:>14}{one.states:>10}{one.peak_states:>14}  {one.stack_bytes}")
    assert [one.program for one in box.stats] == ["lv_gate", "lv_splice_outside", "lv_splice_inside"]
    for one in box.stats:
        assert one.instructions < _INSTRUCTIONS_MAX // 2
