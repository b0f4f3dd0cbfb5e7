"""`make demo`: makes the lab's modules importable and starts story.py."""

import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_TESTS), str(_TESTS / "lab")]

from demo.story import main  # noqa: E402  the path had to be set first

if __name__ == "__main__":
    sys.exit(main())
