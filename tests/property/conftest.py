"""Hypothesis profiles: `short` for `make test`, bounded and the same at every run; `long` to search.

Choose with `pytest tests/property --hypothesis-profile=long`.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

ROOT = Path(__file__).resolve().parents[2]

settings.register_profile(
    "short",
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "long",
    max_examples=20_000,
    deadline=None,
    database=DirectoryBasedExampleDatabase(ROOT / ".build" / "hypothesis"),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("short")
