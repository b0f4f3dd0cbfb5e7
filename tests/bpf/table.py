"""The lines of the table (cases.py says what the words in them mean).

Owns nothing but the list. Read by test_cases.py. Must not know how a case is run.
"""

from __future__ import annotations

from box.box import FULL, stamps
from box.wire import MASK, Option
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Router_Alert, TCPAOValue
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Packet, Raw

from bpf.cases import (
    CROWD,
    FREE,
    OFF,
    PARTS,
    TAGGED,
    ZERO,
    Case,
    answered,
    back,
    changed,
    client,
    closed,
    cookie_of,
    cut_in_two,
    data_in_two,
    data_in_two_to_server,
    extended,
    from_source,
    handshake,
    icmp,
    icmp_back,
    icmp_onward,
    known,
    learned,
    learned_plain,
    network,
    nothing,
    onward,
    opened,
    opened_plain,
    own,
    proof,
    remembered_no_more,
    reset,
    server,
    syn,
    syn_to_server,
    synack,
    to_client,
    to_host,
    to_server,
)  # fmt: skip

MSS, SACK, TIMES, SCALE = FULL[0], FULL[1], FULL[2], FULL[4]
PAD: Option = ("NOP", None)
UNKNOWN: Option = (253, b"xy")  # type: ignore[assignment]  # Scapy takes a number where it knows no name
REST = FULL[1:]  # without the MSS
ALL = ("MSS", "SAckOK", "Timestamp", "NOP", "WScale")

SYNS = (
    Case("SYN with all options", syn(*FULL), "tx", synack(*ALL)),
    Case("SYN without options", syn(), "tx", synack("MSS")),
    *(
        Case(f"SYN to one of {len(CROWD)} services, number {n}", syn(*FULL), "tx", synack(*ALL), sport=CROWD[n])
        for n in (0, 4999, len(CROWD) - 1)
    ),
    Case("SYN with MSS", syn(MSS), "tx", synack("MSS")),
    Case("SYN with MSS and scale", syn(MSS, PAD, SCALE), "tx", synack("MSS", "NOP", "WScale")),
    Case("SYN with MSS and SACK", syn(MSS, SACK, PAD, PAD), "tx", synack("MSS", "SAckOK", "NOP", "NOP")),
    Case("SYN with timestamps", syn(PAD, PAD, TIMES), "tx", synack("MSS", "NOP", "NOP", "Timestamp")),
    Case(
        "SYN as Windows sends it", syn(MSS, PAD, SCALE, PAD, PAD, SACK), "tx",
        synack("MSS", "SAckOK", "NOP", "NOP", "NOP", "WScale"),
    ),
    Case(
        "SYN with scale and timestamps", syn(MSS, PAD, SCALE, PAD, PAD, TIMES), "tx",
        synack("MSS", "NOP", "NOP", "Timestamp", "NOP", "WScale"),
    ),
    Case("SYN with data (Fast Open)", syn(*FULL, data=b"hello"), "tx", synack(*ALL)),
    Case("SYN with an unknown option", syn(MSS, UNKNOWN), "tx", synack("MSS")),
    Case("SYN that asks for ECN", syn(*FULL, flags="SEC"), "tx", synack(*ALL)),
    Case("SYN again", syn(*FULL), "tx", synack(*ALL), given=answered),
    Case(
        "SYN to a server that is known", syn(*FULL), "tx",
        synack(*ALL, mss4=1300, mss6=1300, wscale=5), given=learned,
    ),
    Case("SYN to a server without options", syn(*FULL), "tx", synack("MSS", mss4=1200, mss6=1200), given=learned_plain),
    Case("SYN, window zero until the server answers", syn(*FULL), "tx", synack(*ALL, window=0), sport=ZERO),
    Case("SYN of a connection that is closed", syn(*FULL), "tx", synack(*ALL, mss6=1460, wscale=5), given=closed),
    Case("SYN with a signature, MD5", syn(("MD5", bytes(16))), "pass", onward),
    Case("SYN with a signature, AO", syn(("AO", TCPAOValue(keyid=1, rnextkeyid=1, mac=bytes(12)))), "pass", onward),
    Case("SYN in an open connection", client(flags="S", ack=0), "handover", lambda s: [
        ("outside", own(s, towards="outside", flags="A", seq=s.talk.s_next_told, ack=s.talk.c_next, window=500))
    ], given=opened),
    Case("SYN behind IP options", changed(
        lambda p: p[IP].setfieldval("options", [IPOption_Router_Alert()]), flags="S", options=FULL
    ), "tx", synack(*ALL), families=(4,)),
    Case("SYN behind extension headers", extended(
        lambda: IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(segleft=0),
        flags="S", seq=lambda s: s.talk.c_isn, options=FULL,
    ), "tx", synack(*ALL), families=(6,)),
    Case("SYN in an atomic fragment", extended(
        lambda: IPv6ExtHdrFragment(m=0, offset=0), flags="S", seq=lambda s: s.talk.c_isn, options=FULL
    ), "tx", synack(*ALL), families=(6,)),
    Case("SYN with a wrong TCP checksum", changed(
        lambda p: p[TCP].setfieldval("chksum", 0x1234), flags="S", options=FULL
    ), "drop", nothing),
)  # fmt: skip

ACKS = (
    Case("ACK that proves the client", proof, "handover", syn_to_server(*REST), given=answered),
    Case("ACK with only a cookie", proof, "handover", syn_to_server(
        *REST, window=0xFFFF, mss6=1380
    ), given=remembered_no_more),
    Case("ACK to a cookie of the epoch before", cookie_of(1), "handover",
         syn_to_server(window=500, mss6=1380), given=remembered_no_more),
    Case("ACK to a cookie that has expired", cookie_of(2), "drop", nothing, given=remembered_no_more),
    Case("ACK to a cookie from long ago", cookie_of(100), "drop", nothing, given=remembered_no_more),
    Case("ACK, forged", client(ack=0x12345678), "drop", nothing),
    Case("ACK, forged, with the other parity", client(ack=0x12345679), "drop", nothing),
    Case("ACK, forged, with data", client(b"GET /", ack=0x12345678), "drop", nothing),
    Case("ACK that is off by one", client(ack=lambda s: (s.talk.isn + 2) & MASK), "drop", nothing, given=answered),
    Case("ACK with another sequence number", client(
        seq=lambda s: (s.talk.c_isn - 5) & MASK, ack=lambda s: (s.talk.isn + 1) & MASK
    ), "drop", nothing, given=answered),
    Case("ACK with a wrong checksum", changed(
        lambda p: p[TCP].setfieldval("chksum", 0x1234), flags="A",
        seq=lambda s: s.talk.c_next, ack=lambda s: (s.talk.isn + 1) & MASK,
    ), "handover", nothing, given=answered),
    Case("ACK behind extension headers", extended(
        IPv6ExtHdrDestOpt, flags="A", seq=lambda s: s.talk.c_next,
        ack=lambda s: (s.talk.isn + 1) & MASK, options=lambda s: stamps(7000, s.talk.echo),
    ), "handover", syn_to_server(*REST), given=answered, families=(6,)),
    Case("more of the client while its server is asked", client(
        b"second", ack=lambda s: (s.talk.isn + 1) & MASK
    ), "handover", nothing, given=handshake),
    Case("RST of a client that was answered", client(flags="R", ack=0), "drop", nothing, given=answered),
    Case("RST for nobody", client(flags="R"), "drop", nothing),
    Case("FIN for nobody", client(flags="FA"), "drop", nothing),
    Case("SYN-ACK from outside", client(flags="SA"), "drop", nothing),
)  # fmt: skip


def _one_segment_left() -> Packet:
    return IPv6ExtHdrRouting(segleft=1, addresses=["2001:db8:19::77"])


def _nine() -> Packet:
    headers = IPv6ExtHdrDestOpt()
    for _ in range(8):
        headers = headers / IPv6ExtHdrDestOpt()
    return headers


JUNK = (
    *(
        Case(f"flags {flags or 'none'}", syn(flags=flags), "drop", nothing)
        for flags in ("", "F", "P", "U", "FPU", "SF", "SR", "RF", "SFPU", "FSRPAU")
    ),
    *(
        Case(f"TCP header of {words} words", changed(
            lambda p, words=words: p[TCP].setfieldval("dataofs", words), flags="S"  # type: ignore[misc]
        ), "drop", nothing)
        for words in (0, 4, 15)
    ),
    *(
        Case(f"frame that lacks {cut} bytes", lambda s, cut=cut: syn(*FULL)(s)[:-cut],  # type: ignore[misc]
             "drop", nothing)
        for cut in (1, 19, 20, 39)
    ),
    Case("port zero", changed(lambda p: p[TCP].setfieldval("sport", 0), flags="S"), "drop", nothing),
    Case("IP header that is too short", changed(lambda p: p[IP].setfieldval("ihl", 4), flags="S"), "drop", nothing,
         families=(4,)),
    Case("too many extension headers", extended(_nine, flags="S"), "drop", nothing, families=(6,)),
    Case("routing header with a segment left", extended(_one_segment_left, flags="S"), "drop", nothing, families=(6,)),
    Case("first fragment, SYN", cut_in_two(0, flags="S"), "drop", nothing),
    Case("first fragment, data", cut_in_two(0, flags="A"), "drop", nothing),
    Case("first fragment without a TCP header", cut_in_two(0, 8, flags="A"), "drop", nothing),
    Case("second fragment", cut_in_two(1, flags="A"), "drop", nothing),
    Case("fragments may pass: SYN", cut_in_two(0, flags="S"), "drop", nothing, sport=PARTS),
    *(
        Case(f"source {four} or {six}", from_source(four, six, flags="S"), "drop", nothing)
        for four, six in (
            ("0.0.0.0", "::"), ("127.0.0.1", "::1"), ("224.0.0.1", "ff02::1"), ("240.1.2.3", "::198.18.0.7")
        )
    ),
    Case("LAND", lambda s: from_source(s.path.server, s.path.server, flags="S")(s), "drop", nothing),
    Case("ICMP error about no connection", icmp("too big", inside=False), "drop", nothing),
)  # fmt: skip

NOT_OURS = (
    Case("UDP", network(lambda _: UDP(sport=9, dport=80) / Raw(b"x")), "pass", onward),
    Case("echo request", network(lambda _: ICMP()), "pass", onward, families=(4,)),
    Case("echo request, IPv6", network(lambda _: ICMPv6EchoRequest()), "pass", onward, families=(6,)),
    Case("ARP", lambda s: s.path.from_client()[:12] + b"\x08\x06" + bytes(28), "pass", onward, families=(4,)),
    Case("LLC frame", lambda s: s.path.from_client()[:12] + b"\x00\x26" + bytes(46), "pass", onward, families=(4,)),
    Case("SYN to a port nobody protects", syn(*FULL), "pass", onward, sport=FREE),
    Case("SYN to a port between those of thousands of services", syn(*FULL), "pass", onward, sport=CROWD[4999] + 1),
    Case("ACK to a port nobody protects", client(), "pass", onward, sport=FREE),
    Case("SYN to a service that is off", syn(*FULL), "pass", onward, sport=OFF),
    Case("SYN from an excepted host", from_source("198.18.200.9", "2001:db8:200::9", flags="S"), "pass", onward),
    Case("ACK from an excepted host", from_source("198.18.200.9", "2001:db8:200::9", flags="A"), "pass", onward),
    Case("answer to an excepted host", to_host("198.18.200.9", "2001:db8:200::9", flags="SA"), "pass", back,
         side="inside"),
    Case("answer of a service that is off", server(flags="SA"), "pass", back, side="inside", sport=OFF),
    Case("fragment from a server", lambda s: s.path.frame(
        IP(src=s.path.server, dst=s.path.client, proto=6, id=4711, frag=3) / Raw(bytes(64)), inside=True
    ), "pass", back, side="inside", families=(4,)),
    Case("junk from a server", server(flags=""), "pass", back, side="inside"),
    Case("UDP from a server", lambda s: s.path.frame(
        IP(src=s.path.server, dst=s.path.client) / UDP(sport=80, dport=9), inside=True
    ), "pass", back, side="inside", families=(4,)),
)  # fmt: skip

OPEN = (
    Case("data of the client", client(b"request"), "redirect", to_server(data=b"request"), given=opened),
    Case("data of the server", server(b"response"), "redirect", to_client(data=b"response"),
         given=opened, side="inside"),
    Case("fragments may pass: the first of some data", data_in_two(0), "redirect", data_in_two_to_server,
         given=opened, sport=PARTS),
    Case("fragments may pass: the rest of it", data_in_two(1), "pass", onward, given=opened, sport=PARTS),
    Case("ACK of the client, with its echo", client(
        options=lambda s: stamps(7005, s.talk.echo)
    ), "redirect", to_server(options=stamps(7005, 900)), given=opened),
    Case("ACK of the server, with its time", server(options=stamps(930, 7005)), "redirect", to_client(
        options=lambda s: stamps((s.talk.echo + 30) & MASK, 7005)
    ), given=opened, side="inside"),
    Case("SACK of the client", client(options=lambda s: [PAD, PAD, ("SAck", (
        (s.talk.s_next_told + 10) & MASK, (s.talk.s_next_told + 20) & MASK
    ))]), "redirect", to_server(options=lambda s: [PAD, PAD, ("SAck", (
        (s.talk.s_next + 10) & MASK, (s.talk.s_next + 20) & MASK
    ))]), given=opened),
    Case("SACK of the client, three blocks at an odd place", client(options=lambda s: [PAD, ("SAck", tuple(
        (s.talk.s_next_told + n) & MASK for n in (10, 20, 30, 40, 50, 60)
    )), PAD]), "redirect", to_server(options=lambda s: [PAD, ("SAck", tuple(
        (s.talk.s_next + n) & MASK for n in (10, 20, 30, 40, 50, 60)
    )), PAD]), given=opened),
    Case("SACK of the server", server(options=[PAD, PAD, ("SAck", (5, 6))]), "redirect",
         to_client(options=[PAD, PAD, ("SAck", (5, 6))]), given=opened, side="inside"),
    Case("window of the server, of another scale", server(window=1000), "redirect", to_client(window=250),
         given=opened, side="inside"),
    Case("options the server does not have", client(options=lambda s: [
        *stamps(7001, s.talk.echo), PAD, PAD, ("SAck", (1, 2))
    ]), "redirect", to_server(options=[PAD] * 24, window=0xFFFF), given=opened_plain),
    Case("urgent data", client(b"!", flags="PAU", urgptr=1), "redirect",
         to_server(data=b"!", flags="PAU", urgptr=1), given=opened),
    Case("FIN of the client", client(flags="FA"), "redirect", to_server(flags="FA"), given=opened),
    Case("FIN of the server", server(flags="FA"), "redirect", to_client(flags="FA"), given=opened, side="inside"),
    Case("RST of the client", client(flags="R", ack=0), "redirect", lambda s: [("inside", s.frame)], given=opened),
    Case("RST of the server", server(flags="R", ack=0), "redirect", to_client(flags="R", ack=0, window=500),
         given=opened, side="inside"),
    Case("RST with a guessed number", client(
        flags="R", seq=lambda s: (s.talk.c_next + 0x20000000) & MASK, ack=0
    ), "drop", nothing, given=opened),
    Case("SYN-ACK from outside in an open connection", client(flags="SA"), "drop", nothing, given=opened),
    Case("the server's SYN-ACK again", server(
        flags="SA", seq=lambda s: s.talk.s_isn, window=64000, options=[("MSS", 1460)]
    ), "handover", lambda s: [("inside", own(
        s, towards="inside", flags="A", seq=s.talk.c_next, ack=s.talk.s_next, window=500, options=stamps(7000, 0)
    ))], given=opened, side="inside"),
    Case("data behind extension headers", extended(
        lambda: IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop(), data=b"x", flags="PA", seq=lambda s: s.talk.c_next,
        ack=lambda s: s.talk.s_next_told, window=500,
    ), "redirect", lambda s: [("inside", extended(
        lambda: IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop(), data=b"x", flags="PA", seq=s.talk.c_next,
        ack=s.talk.s_next, window=500,
    )(s))], given=opened, families=(6,)),
    Case("ICMP error about an open connection", icmp("too big", inside=False), "handover", icmp_onward, given=opened),
    Case("ICMP error from the servers' side", icmp("too big", inside=True), "handover", icmp_back,
         given=opened, side="inside"),
)  # fmt: skip

CLOSED = (
    Case("FIN again, from the client", client(
        flags="FA", seq=lambda s: (s.talk.c_next - 1) & MASK
    ), "redirect", to_server(flags="FA", seq=lambda s: (s.talk.c_next - 1) & MASK), given=closed),
    Case("FIN again, from the server", server(
        flags="FA", seq=lambda s: (s.talk.s_next - 1) & MASK
    ), "redirect", to_client(flags="FA", seq=lambda s: (s.talk.s_next_told - 1) & MASK), given=closed, side="inside"),
    Case("last ACK of the server", server(), "redirect", to_client(), given=closed, side="inside"),
    Case("ACK with other numbers after the end", client(
        seq=lambda s: (s.talk.c_next + 0x30000000) & MASK, ack=0x12345678
    ), "drop", nothing, given=closed),
    Case("data of the server after a RST", server(b"late"), "redirect", to_client(data=b"late"),
         given=reset, side="inside"),
    Case("SYN after a RST", syn(*FULL, seq=0x55555555), "tx", lambda s: [
        ("outside", frame) for frame in [s.left[0][1]]
    ], given=reset),
)  # fmt: skip

KNOWN = (
    Case("first word of a server", server(b"hello"), "pass", back, side="inside"),
    Case("answer to a server that was heard", client(b"answer"), "pass", onward, given=known),
    Case("SYN to a server that was heard", syn(*FULL), "pass", onward, given=known),
    Case("connection from inside", server(flags="S", ack=0), "pass", back, side="inside"),
    Case("RST of a server for nobody", server(flags="R"), "pass", back, side="inside"),
    Case("SYN-ACK that nobody waits for", server(flags="SA"), "handover", lambda s: [
        ("inside", own(s, towards="inside", flags="R", seq=s.talk.c_next, ack=0))
    ], side="inside"),
)  # fmt: skip

TABLE = (*SYNS, *ACKS, *JUNK, *NOT_OURS, *OPEN, *CLOSED, *KNOWN)
TAGGED_ONLY = Case("SYN to a service of one VLAN", syn(*FULL), "tx", synack(*ALL), sport=TAGGED)
