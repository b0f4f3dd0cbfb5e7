"""Where the programs cannot be run, all of this is skipped, with the reason."""

from __future__ import annotations

import pytest
from netlab import ability


@pytest.fixture(scope="session", autouse=True)
def programs_can_be_run() -> None:
    missing = ability.bpf_missing()
    if missing:
        pytest.skip(missing)
