"""Loss at both ends: the kernel of each drops a share of the TCP packets that arrive, chosen at random.

Behind the wire: a capture there sees them, and so did the box. Called by tests.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from netlab.names import END_INTERFACE
from netlab.process import run
from netlab.session import Lab

_TABLE = """
table netdev lab_loss {{
    chain ingress {{
        type filter hook ingress device "{interface}" priority -400; policy accept;
        meta l4proto tcp numgen random mod 100 < {percent} drop
    }}
}}
"""


@contextlib.contextmanager
def losing(lab: Lab, percent: int) -> Iterator[None]:
    ends = (lab.names.client, lab.names.server)
    text = _TABLE.format(interface=END_INTERFACE, percent=percent)
    for namespace in ends:
        run(["nft", "-f", "-"], namespace=namespace, text_in=text)
    try:
        yield
    finally:
        for namespace in ends:
            run(["nft", "delete", "table", "netdev", "lab_loss"], namespace=namespace)
