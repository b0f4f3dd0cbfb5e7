"""The benchmark's pure parts: the judging of answers, what is said of several runs."""

from __future__ import annotations

import pytest
from bench import established, syns
from bench.conversation import Talks
from bench.flood import Measurement, best
from bench.part import Spread, Table
from bench.peers import BRIDGE, BRIDGE_PASS, LEVEE, LEVEE_BPF, NAIVE, SYNPROXY
from bench.programs import Plan
from bench.verify import a_syn, wrong_answer
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

SERVER = "198.19.0.10"


def test_verifying_syns_differ_and_have_all_options() -> None:
    syns = [IP(bytes(a_syn(number, SERVER, 80))) for number in range(128)]
    assert len({(syn.src, syn[TCP].sport) for syn in syns}) == len({syn[TCP].seq for syn in syns}) == 128
    assert all(dict(syn[TCP].options).keys() >= {"MSS", "SAckOK", "Timestamp", "WScale"} for syn in syns)


def answer(dport: int = 1234, ack: int = 8, mss: int | None = 1460, chksum: int | None = None) -> bytes:
    tcp = TCP(sport=80, dport=dport, flags="SA", ack=ack, options=[("MSS", mss)] if mss else [], chksum=chksum)
    return bytes(Ether() / IP(src=SERVER, dst="198.18.64.1") / tcp)


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (answer(), None),
        (answer(dport=1235), "it answers no SYN of ours"),
        (answer(ack=9), "it acknowledges 9, the SYN was 7"),
        (answer(mss=None), "it announces no MSS"),
        (answer(chksum=1), "a checksum is wrong"),
    ],
)
def test_answers_are_judged(frame: bytes, problem: str | None) -> None:
    assert wrong_answer(frame, checksums=True, isn_of={("198.18.64.1", 1234): 7}) == problem


def test_checksums_left_to_an_offload_are_not_judged() -> None:
    assert wrong_answer(answer(chksum=1), checksums=False, isn_of={("198.18.64.1", 1234): 7}) is None


def run(answered_pps: float) -> Measurement:
    return Measurement(2 * answered_pps, answered_pps, 3.0, 3.1, busy_share=0.5, stolen_share=0.0)


def test_spread_and_best() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0)
    assert Spread.of([3.0, 1.0, 2.0]).text(1) == "2.0 (1.0..3.0)"
    assert best([run(1.0), run(3.0), run(2.0)]) == run(3.0)


def series(answered_pps: float, half: Measurement | None = None) -> syns.Series:
    one = run(answered_pps)
    return syns.Series(ladder=[one], peak=[one], half=[half or one], overload=[one])


def of_all(**changed: syns.Series) -> dict[str, syns.Series]:
    rates = {SYNPROXY.key: 200_000.0, LEVEE.key: 180_000.0, NAIVE.key: 1_000.0}
    return {key: series(rate) for key, rate in rates.items()} | changed


def test_a_machine_that_was_not_quiet_is_named() -> None:
    busy = Measurement(2e4, 1e4, cpu_us_per_syn=30.0, busy_us_per_syn=80.0, busy_share=0.8, stolen_share=0.0)
    (quiet,) = syns.report(of_all(), 0.0).tables
    (disturbed,) = syns.report(of_all(levee_nfqueue=series(1e4, half=busy)), 0.0).tables
    assert "NOT QUIET" not in quiet.markdown()
    assert "up to 50% of the box's core" in disturbed.markdown()


def test_ratios_are_to_the_kernels_proxy() -> None:
    (table,) = syns.report(of_all(), 0.0).tables
    column = table.head.index("of nft synproxy")
    assert [row[column] for row in table.rows] == ["1", "0.9", "0.005"]


def test_a_table_is_markdown() -> None:
    table = Table("title", ("", "kpps"), (("one", "1"), ("another", "22")), ("a note",))
    assert table.markdown().splitlines() == [
        "**title**",
        "",
        "|         | kpps |",
        "|---------|------|",
        "| one     | 1    |",
        "| another | 22   |",
        "",
        "a note",
    ]


def test_a_plan_is_without_what_is_drawn() -> None:
    frame = Ether() / IP(src="198.18.128.9", dst=SERVER) / TCP(sport=9, dport=80, seq=5, ack=6, flags="S")
    packed = Plan(bytes(frame)).packed()
    kept = Ether(packed[8:62])
    assert (kept[IP].src, kept[IP].dst, kept[IP].chksum) == ("0.0.0.0", "0.0.0.0", 0)
    assert (kept[TCP].sport, kept[TCP].dport, kept[TCP].seq, kept[TCP].ack, kept[TCP].chksum) == (0, 80, 0, 0, 0)


def carried(gbits: float, talks: int) -> established.Series:
    bits = {way.title: [gbits * 1e9] for way in established.WAYS}
    return established.Series(bits, [Talks(talks, 0, seconds=2.0, p50_us=20.0, p99_us=30.0)])


def test_the_bpf_engine_is_beside_both_bridges() -> None:
    found = {BRIDGE.key: carried(10, 100), BRIDGE_PASS.key: carried(5, 80), LEVEE_BPF.key: carried(4, 60)}
    _, ratios, talks = established.report(found).tables
    assert [row[1] for row in ratios.rows] == ["0.40", "0.80"]
    assert talks.rows[-1][1:2] + talks.rows[-1][-1:] == (
        "30 (30..30)",
        f"0.60 {BRIDGE.title}, 0.75 {BRIDGE_PASS.title}",
    )
