"""Each command that README and handbook print does what they say, in the order of the page.

A page has a box of its own, made new. What cannot be run is counted with its reason at the end of each page's test.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from netlab import ability, printed, readerbed
from netlab.names import REPOSITORY, names_from_environment
from netlab.topology import Mode

PAGES = ("README.md", "docs/installation.md", "docs/operating.md", "docs/troubleshooting.md")


@pytest.mark.deep
@pytest.mark.parametrize("name", PAGES)
def test_commands_work_as_printed(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = REPOSITORY / name
    mode = printed.topology(page)
    missing = ability.bpf_missing()
    if mode == "bridge" and missing and Mode.BRIDGE not in ability.modes():
        pytest.skip(f"no engine for a bridge: {missing}")
    names = names_from_environment("levee-reader")
    done = 0
    left_out: Counter[str] = Counter()
    with readerbed.bed(names, mode, tmp_path) as bed:
        for step in printed.steps(page):
            if step.not_run:
                left_out[step.not_run] += 1
                continue
            code, said = bed.do(step)
            assert code == step.code, f"{name}:{step.line}: {step.command}\nexit code {code}\n{said}"
            assert "Traceback" not in said, f"{name}:{step.line}: {step.command}\n{said}"
            done += 1
    assert done, "a page of commands"
    with capsys.disabled():
        print(f"\n{name}: {done} commands run" + "".join(f"; {n} not run: {why}" for why, n in left_out.items()))


def test_every_page_with_commands_is_tested() -> None:
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    with_commands = {str(page.relative_to(REPOSITORY)) for page in pages if "```sh" in page.read_text()}
    assert with_commands == set(PAGES)
