"""What an operator is told before a configuration is used: every value, and the line it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance import explain
from appliance.cli import main
from appliance.config import loads
from appliance.models import Service
from appliance.yamldoc import parse

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TEXT = """\
version: 1
mode: routed
outside: eth0
inside: eth1
services:
  web:
    addresses: [192.0.2.1]
    ports: [80, 443]
    window: zero
    server: {mss: 1400, wscale: none}
  old:
    addresses: ["2001:db8::/64"]
    ports: all
    protect: "off"
except: [192.0.2.9]
"""
EXPLAINED = """\
routed: a router, clients at eth0, servers at eth1
  engine         bpf where kernel and NICs allow it, else nfqueue; `levee status` says which  [default]
  without daemon with nfqueue: all packets of services are dropped  [default]
  queue full     with nfqueue: what does not fit is dropped, and repeated by TCP  [default]
  never touched  192.0.2.9  [line 15]
  anything else  passes untouched

web: 192.0.2.1  ports 80, 443  [line 6]
  protection     every new connection is proven by a cookie before a server hears of it  [default]
  a SYN          is answered by the box itself, at once, with a cookie in the sequence number
  it announces   until a server has answered: see levee backends  [line 10]
    mss          1400 bytes over IPv4, 1380 over IPv6  [line 10]
    wscale       none  [line 10]
    sack         yes  [default]
    timestamps   yes  [default]
  early data     waits at the client until the server has answered (window 0)  [line 9]
  a forged ACK   is dropped: its cookie is wrong
  no handshake   any other segment without a connection is dropped, without an answer
  closed port    a proven client gets the server's own reset, with the right numbers
  fragments      dropped, since a flood can hide in them  [default]
  signed SYNs    with TCP-MD5 or TCP-AO go to the server, at most 50 a second: no box can sign an answer  [default]

old: 2001:db8::/64  all ports  [line 11]
  protection     nothing is done: packets pass as if there was no box  [line 14]
"""


LIMITED = TEXT.replace("window: zero", "per_source: {new_per_s: 20, open: 50, over: block, block_for: 1h}")
PER_SOURCE = """\
  each source    that proved itself may open 20 connections a second and have 50 open; whoever wants more is blocked for 1h  [line 9]
  a source       is a /32 of IPv4, a /64 of IPv6  [line 9]
"""  # noqa: E501


LOGGED = """\
  the log has    what is refused: at most 10/min lines, then how many more there were, by reason  [line 9]
  the log has    connections opened: at most 5/h lines, then how many more there were  [line 9]
"""


def explained(text: str, only: str | None = None) -> str:
    config = loads(text.encode(), "levee.yaml")
    return "".join(f"{line}\n" for line in explain.Explanation(config, parse(text)).lines(only))


def test_each_value_and_where_it_comes_from() -> None:
    said, _, memory = explained(TEXT).partition("\nmemory, none of it grows under attack\n")
    assert said == EXPLAINED
    assert "at most" in memory.splitlines()[-1]


def test_each_mode_is_described_as_it_is() -> None:
    said = {path.stem: explained(path.read_text()).splitlines()[0] for path in CONFIGS.glob("*.yaml")}
    assert said["bridge"] == "bridge: bridge br0, clients at eth0, servers at eth1"
    assert said["routed"] == "routed: a router, clients at eth0, servers at eth1"
    assert said["host"] == "host: the sockets of this machine, clients at eth0"


def test_when_protection_begins_and_ends() -> None:
    said = explained(TEXT.replace('protect: "off"', "protect: auto\n    attack: {quiet_s: 60}"), "old")
    assert "it begins      above 1000 SYNs a second, or 80 % of them unfinished  [line 15]\n" in said
    assert "and ends       below 500 and 50 % for 60 s  [line 15]\n" in said


def test_what_is_logged() -> None:
    text = TEXT.replace("window: zero", "log: {refused: 10/min, opened: 5/h}")
    assert LOGGED in explained(text, "web")


def test_one_service() -> None:
    assert explained(TEXT, "old") == "\n" + EXPLAINED[EXPLAINED.index("old: ") :]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
@pytest.mark.parametrize("option", [[], ["--nft"], ["--maps"]], ids=["sentences", "nft", "maps"])
def test_every_example_can_be_explained(path: Path, option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(path), *option]) == 0
    printed = capsys.readouterr().out
    assert printed
    for name in loads(path.read_bytes(), path.name).services:
        assert option == ["--nft"] or name in printed


def test_the_rules_are_those_that_are_loaded() -> None:
    printed = "\n".join(explain.nft(loads(TEXT.encode(), "levee.yaml")))
    assert "192.0.2.1 . 443," in printed
    assert "iptables -t raw -A PREROUTING -m mark" in printed
    assert "2001:db8" not in printed, "a service that is off needs no rule"


def test_the_look_up_table() -> None:
    printed = list(explain.maps(loads(TEXT.encode(), "levee.yaml")))
    assert f"{'192.0.2.1':<44} ports 80, 443 -> web, protect always" in printed
    assert f"{'2001:db8::/64':<44} all ports -> old, protect off" in printed
    assert f"{'192.0.2.9':<44} any port -> never touched" in printed


def test_choices_of_the_models_have_their_sentences() -> None:
    for key, sentences in (
        ("window", explain.WINDOW),
        ("fragments", explain.FRAGMENTS),
        ("signed", explain.SIGNED),
    ):
        assert Service.model_fields[key].default in sentences
        assert set(sentences) in ({"real", "zero"}, {"drop", "pass"})


def test_a_service_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(CONFIGS / "routed.yaml"), "--service", "nothing"]) == 3
    assert "there is no service nothing\nlevee: hint: there are: web, mail" in capsys.readouterr().err


def test_limits_of_sources() -> None:
    assert PER_SOURCE in explained(LIMITED)
    assert "each source" not in explained(TEXT)
