"""What is generated for readers is complete and true: pages, schema, typical mistakes."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from appliance import cli, yamldoc
from appliance.config import loads
from appliance.errors import ConfigError

ROOT = Path(__file__).parents[2]
MISTAKES: list[dict[str, Any]] = yaml.safe_load((ROOT / "tests/mistakes/mistakes.yaml").read_text())
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
GOOD = (
    "version: 1\nmode: routed\noutside: eth0\ninside: eth1\nservices:\n  web: {addresses: [192.0.2.1], ports: [80]}\n"
)


def schema() -> Draft202012Validator:
    """The one for editors; it is itself valid."""
    read = json.loads((ROOT / "configs/levee.schema.json").read_text())
    Draft202012Validator.check_schema(read)
    return Draft202012Validator(read)


def plain(text: str) -> object:
    """A file as an editor's YAML 1.2 has it: lists are lists."""

    def lists(value: object) -> object:
        if isinstance(value, dict):
            return {name: lists(one) for name, one in value.items()}
        return [lists(one) for one in value] if isinstance(value, tuple) else value

    return lists(yamldoc.parse(text).value)


def test_there_are_twenty_mistakes_at_least() -> None:
    assert len(MISTAKES) >= 20
    assert len({one["title"] for one in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize("one", MISTAKES, ids=[one["title"] for one in MISTAKES])
def test_a_mistake_has_line_cause_and_cure(one: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(one["file"].encode(), "levee.yaml")
    lines = caught.value.message.splitlines()
    for line in lines:
        assert re.fullmatch(r"levee\.yaml:\d+:\d+: [^:]+: .+, .+ would be right", line), line
    if "line" in one:
        assert f"levee.yaml:{one['line']}:" in lines[0]
    assert len(lines) <= 2, "one mistake is not many"
    assert one["cure"].strip()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_schema_takes_every_example(path: Path) -> None:
    problems = [error.message for error in schema().iter_errors(plain(path.read_text()))]
    assert not problems


@pytest.mark.parametrize(
    "text",
    [
        GOOD + "mdoe: routed\n",
        GOOD.replace("version: 1", "version: 2"),
        GOOD.replace("[80]", "80"),
        GOOD.replace("[80]", "[0]"),
        GOOD.replace("[80]", "[http]"),
        GOOD.replace("ports: [80]", "port: [80]"),
        GOOD.replace("ports: [80]", "ports: [80], trap: 600"),
        GOOD.replace("ports: [80]", "ports: [80], server: {wscale: 15}"),
        GOOD + "limits: {hold_total: 64}\n",
        GOOD.replace("mode: routed\n", ""),  # the bridge is missing
        GOOD.replace("inside: eth1\n", ""),
        GOOD.replace("routed", "host"),  # inside is of no use
        GOOD + "runtime_dir: run\n",
    ],
)
def test_the_schema_refuses_what_check_refuses(text: str) -> None:
    with pytest.raises(ConfigError):
        loads(text.encode(), "levee.yaml")
    assert list(schema().iter_errors(plain(text)))


def test_the_schema_describes_every_key() -> None:
    def described(here: dict[str, Any], path: str) -> list[str]:
        found = []
        for name, one in here.get("properties", {}).items():
            found += [] if one.get("description") else [f"{path}.{name}"]
            found += described(one, f"{path}.{name}") + described(one.get("additionalProperties") or {}, path)
        return found

    read = json.loads((ROOT / "configs/levee.schema.json").read_text())
    assert read["properties"]["services"]["additionalProperties"]["properties"]["ports"]
    assert described(read, "") == []


def test_every_command_is_in_the_manual_page() -> None:
    manual = (ROOT / "docs/man/levee.1").read_text()
    parser = cli.argument_parser()
    commands = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction)).choices
    assert [name for name in commands if f".SS levee {name}" not in manual] == []


@pytest.mark.parametrize("page", ["levee.1", "levee.yaml.5"])
def test_a_manual_page_is_set_without_a_warning(page: str) -> None:
    argv = ["groff", "-man", "-ww", "-Tutf8", str(ROOT / "docs/man" / page)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert not done.stderr
    assert "SYN" in done.stdout


def test_the_manual_pages_are_installed() -> None:
    shared = Path(sys.prefix) / "share"
    for name in ("man/man1/levee.1", "man/man5/levee.yaml.5", "levee/levee.schema.json"):
        assert (shared / name).stat().st_size > 1000
