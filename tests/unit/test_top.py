"""`levee top`: counting the heaviest with a bounded list, and the screen."""

from __future__ import annotations

import os
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from appliance import varlink
from appliance.commands import top
from appliance.heavy import Heavy

if TYPE_CHECKING:
    from collections.abc import Iterator


@given(st.lists(st.sampled_from("abcdefghij")), st.integers(1, 12))
def test_what_comes_often_is_found_and_counts_are_low_by_a_known_amount(keys: list[str], capacity: int) -> None:
    heavy = Heavy(capacity)
    for key in keys:
        heavy.add(key)
    truth = Counter(keys)
    found = dict(heavy.top(100))
    assert len(found) <= capacity
    assert heavy.total == len(keys)
    assert heavy.error <= len(keys) / (capacity + 1)
    for key, count in truth.items():
        assert count - heavy.error <= found.get(key, 0) <= count


def test_a_million_sources_take_no_more_than_the_list() -> None:
    heavy = Heavy(16)
    for number in range(100_000):
        heavy.add(str(number))
        if number % 4 == 0:
            heavy.add("heavy")
    ((name, count), *_) = heavy.top(1)
    assert name == "heavy"
    assert 25_000 - heavy.error <= count <= 25_000
    assert len(heavy.top(1000)) <= 16


def test_a_source_of_ipv6_is_its_network() -> None:
    assert top.source("192.0.2.7") == "192.0.2.7"
    assert top.source("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::/64"


@contextmanager
def answering(path: Path, *replies: dict[str, Any]) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(os.fspath(path))
        listener.listen(1)
        listener.settimeout(60)

        def serve() -> None:
            for reply in replies:
                peer, _ = listener.accept()
                with peer:
                    peer.recv(1 << 16)
                    peer.sendall(varlink.encode({"parameters": reply}))

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def test_sources_are_counted_over_all_pages(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    pages = (
        {"flows": [{"client": "192.0.2.1"}] * 3, "cursor": 7},
        {"flows": [], "cursor": 9},
        {"flows": [{"client": "2001:db8::1"}]},
    )
    with answering(path, *pages):
        heavy = top.sources(path)
    assert heavy.top(5) == [("192.0.2.1", 3), ("2001:db8::/64", 1)]


def test_screen() -> None:
    heavy = Heavy(1)
    for key in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
        heavy.add(key)
    service = {"events": {"syn_received": 5000, "cookie_valid": 12, "cookie_invalid": 3}}
    status: Any = {
        "state": "ATTACK",
        "flows": {"used": 3, "capacity": 262144},
        "services": {"mail": {"events": {}}, "web": service},
        "drops": {"fragment": 0, "held": 2, "syn_answered": 5000},
    }
    assert top.render(status, heavy).splitlines() == [
        "levee top  ATTACK  flows 3 of 262.1k",
        "",
        "service, a second                       SYNs    valid  invalid   opened   silent",
        "web                                     5000       12        3        0        0",
        "mail                                       0        0        0        0        0",
        "",
        "reason, packets a second",
        "syn_answered                            5000",
        "held                                       2",
        "",
        "source, connections (of 3 looked at, up to 1 more each)",
        "192.0.2.1                                  1",
    ]
