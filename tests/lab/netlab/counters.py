"""What arrives at an end of the lab, counted by the kernel and independent of the appliance.

A nft table in the netdev family at the ingress of the server's interface: it sees every frame
before any other part of the kernel. `forged` counts sources that nobody in the lab has; the
first of them are kept, to be shown. Also the shield that keeps a kernel silent about ports which
crafted endpoints use. Called by fixtures.
"""

from __future__ import annotations

import json

from netlab.names import END_INTERFACE, Names
from netlab.process import run

# Above the range that the kernels of the lab take local ports from.
CRAFTED_PORT_FIRST = 61000
CRAFTED_PORT_LAST = 65535

_COUNTER_TABLE = """
table {family} lab_count {{
    set real4 {{
        type ipv4_addr; flags interval;
        elements = {{ 198.18.0.0/24, 198.19.0.0/24, 198.18.110.0/24, 198.18.255.254, 198.19.255.254 }}
    }}
    set real6 {{
        type ipv6_addr; flags interval;
        elements = {{ 2001:db8:18::/64, 2001:db8:19::/64, fe80::/10, ::/128 }}
    }}
    set first4 {{
        type ipv4_addr . inet_service . inet_service; flags dynamic; size 16
    }}
    set first6 {{
        type ipv6_addr . inet_service . inet_service; flags dynamic; size 16
    }}
    counter forged {{ }}
    counter tcp_all {{ }}
    counter syn_real {{ }}
    chain ingress {{
        {hook}; policy accept;
        meta protocol ip ip saddr != @real4 counter name forged
        meta protocol ip6 ip6 saddr != @real6 counter name forged
        meta l4proto tcp counter name tcp_all
        ip saddr @real4 tcp flags & (syn | ack) == syn counter name syn_real
        ip6 saddr @real6 tcp flags & (syn | ack) == syn counter name syn_real
        ip saddr != @real4 add @first4 {{ ip saddr . tcp sport . tcp dport }}
        ip6 saddr != @real6 add @first6 {{ ip6 saddr . tcp sport . tcp dport }}
    }}
}}
"""

_AT_THE_INTERFACE = {
    "family": "netdev",
    "hook": f'type filter hook ingress device "{END_INTERFACE}" priority -500',
}
# On a box that is the server itself: what its sockets are about to get, after whatever levee did.
_AT_THE_SOCKETS = {"family": "inet", "hook": "type filter hook input priority 500"}

_SHIELD_TABLE = f"""
table inet lab_shield {{
    chain prerouting {{
        type filter hook prerouting priority raw; policy accept;
        tcp dport {CRAFTED_PORT_FIRST}-{CRAFTED_PORT_LAST} drop
    }}
}}
"""


def _place(names: Names) -> dict[str, str]:
    return _AT_THE_SOCKETS if names.box_serves else _AT_THE_INTERFACE


def install(names: Names) -> None:
    run(["nft", "-f", "-"], namespace=names.server, text_in=_COUNTER_TABLE.format(**_place(names)))
    for namespace in (names.client, names.server):
        run(["nft", "-f", "-"], namespace=namespace, text_in=_SHIELD_TABLE)


def forget(names: Names) -> None:
    """The next forged segments are the first ones."""
    table = f"{_place(names)['family']} lab_count"
    run(["nft", f"flush set {table} first4; flush set {table} first6"], namespace=names.server)


def forged(names: Names) -> list[str]:
    """The first forged segments since forget(): source . its port . port."""
    found = []
    for name in ("first4", "first6"):
        asked = ["nft", "-n", "list", "set", _place(names)["family"], "lab_count", name]
        _, _, elements = run(asked, namespace=names.server).stdout.partition("elements = {")
        found += [text.strip() for text in elements.partition("}")[0].split(",") if text.strip()]
    return found


def read(names: Names) -> dict[str, int]:
    """Packets by counter: forged, tcp_all, syn_real."""
    table = [_place(names)["family"], "lab_count"]
    said = run(["nft", "-j", "list", "counters", "table", *table], namespace=names.server)
    entries = json.loads(said.stdout)["nftables"]
    return {e["counter"]["name"]: e["counter"]["packets"] for e in entries if "counter" in e}
