"""The benchmark's pure parts: the judging of answers, what is said of several runs."""

from __future__ import annotations

import pytest
from bench.download import Download
from bench.flood import Measurement, best
from bench.peers import LEVEE, NAIVE, PEERS, SYNPROXY
from bench.report import table
from bench.series import DownloadSeries, FloodSeries, Results, Spread
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
    assert best([run(1.0), run(3.0), run(2.0)]) == run(3.0)


def test_a_machine_that_was_not_quiet_is_named() -> None:
    busy = Measurement(2e4, 1e4, cpu_us_per_syn=30.0, busy_us_per_syn=80.0, busy_share=0.8, stolen_share=0.0)
    quiet = FloodSeries(ladder=[run(1e4)], peak=[run(1e4)], half=[run(1e4)], overload=[run(1e4)])
    disturbed = FloodSeries(ladder=[run(1e4)], peak=[run(1e4)], half=[busy], overload=[run(1e4)])
    assert "NOT QUIET" not in table(Results(flood={LEVEE.key: quiet}))
    assert "up to 50% of the box's core" in table(Results(flood={LEVEE.key: disturbed}))


def test_table_says_ratios_to_both_other_peers() -> None:
    rates = {SYNPROXY.key: 200_000.0, LEVEE.key: 180_000.0, NAIVE.key: 1_000.0}
    results = Results(
        flood={
            key: FloodSeries(ladder=[run(rate)], peak=[run(rate)], half=[run(rate)], overload=[run(rate)])
            for key, rate in rates.items()
        },
        download={peer.key: DownloadSeries([Download(2e9, 0)]) for peer in PEERS},
    )
    lines = {line[:20].strip(): line.split() for line in table(results).splitlines() if line}
    assert lines[LEVEE.title[:20]][-1] == "1.00", "of nft synproxy's download rate"
    flood_lines = [line.split() for line in table(results).splitlines()[1:4]]
    assert [line[-2:] for line in flood_lines] == [["1.00", "200.00"], ["0.90", "180.00"], ["0.01", "1.00"]]
