"""Netlink messages of the netfilter queue: what is read of the kernel's, what is written for it.

Messages are made here by hand from linux/netfilter/nfnetlink_queue.h, independently of the code under test.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cext import netlink

NFNL_SUBSYS_QUEUE = 3
MSG_PACKET, MSG_VERDICT, MSG_CONFIG, MSG_VERDICT_BATCH = range(4)
NLMSG_ERROR = 2
NLM_F_REQUEST, NLM_F_ACK = 1, 4
NFPROTO_IPV4, NFPROTO_BRIDGE = 2, 7
A_PACKET_HDR, A_VERDICT_HDR, A_MARK, A_TIMESTAMP, A_INDEV, A_OUTDEV, A_PHYSINDEV = range(1, 8)
A_HWADDR, A_PAYLOAD, A_CAP_LEN, A_SKB_INFO, A_VLAN, A_L2HDR = 9, 10, 13, 14, 19, 20
VLAN_PROTO, VLAN_TCI = 1, 2
NESTED = 0x8000
DROP, ACCEPT = 0, 1


def attribute(kind: int, value: bytes, *, pad: bool = True) -> bytes:
    whole = struct.pack("=HH", 4 + len(value), kind) + value
    return whole + bytes(-len(whole) % 4) if pad else whole


def message(kind: int, body: bytes, *, family: int = NFPROTO_IPV4, queue: int = 0) -> bytes:
    rest = struct.pack("=BB", family, 0) + struct.pack(">H", queue) + body
    return struct.pack("=IHHII", 16 + len(rest), NFNL_SUBSYS_QUEUE << 8 | kind, 0, 0, 0) + rest


def header(packet_id: int = 1, proto: int = 0x0800, hook: int = 0) -> bytes:
    return attribute(A_PACKET_HDR, struct.pack(">IHB", packet_id, proto, hook))


def be32(value: int) -> bytes:
    return struct.pack(">I", value)


def test_every_attribute_of_a_routed_packet() -> None:
    body = (
        header(0xFFFFFFFE, 0x86DD, 0)
        + attribute(A_INDEV, be32(12))
        + attribute(A_MARK, be32(0x4C000000))
        + attribute(A_HWADDR, struct.pack(">HH", 6, 0) + b"\x02\x00\x00\x00\x00\x07" + bytes(2))
        + attribute(A_TIMESTAMP, bytes(16))
        + attribute(A_SKB_INFO, be32(4))
        + attribute(A_PAYLOAD, b"payload", pad=False)
    )
    (read,) = netlink.read_messages(message(MSG_PACKET, body, family=10))
    assert read == {
        "kind": "packet",
        "id": 0xFFFFFFFE,
        "proto": 0x86DD,
        "family": 10,
        "hook": 0,
        "indev": 12,
        "physindev": 0,
        "skb_info": 4,
        "cap_len": 0,
        "payload": b"payload",
        "l2": None,
        "source": b"\x02\x00\x00\x00\x00\x07",
        "vlan_tci": 0,
        "vlan_proto": 0,
    }


def test_bridge_packet_brings_ethernet_header_tag_and_port() -> None:
    ethernet = bytes(range(14))
    tag = attribute(VLAN_TCI, struct.pack(">H", 0x600A)) + attribute(VLAN_PROTO, struct.pack(">H", 0x8100))
    body = (
        header()
        + attribute(A_PHYSINDEV, be32(5))
        + attribute(A_INDEV, be32(9))
        + attribute(A_VLAN | NESTED, tag)
        + attribute(A_L2HDR, ethernet)
        + attribute(A_PAYLOAD, b"x")
    )
    (read,) = netlink.read_messages(message(MSG_PACKET, body, family=NFPROTO_BRIDGE))
    assert (read["physindev"], read["indev"]) == (5, 9)
    assert read["l2"] == ethernet
    assert (read["vlan_proto"], read["vlan_tci"]) == (0x8100, 0x600A)


def test_a_cut_packet_says_its_length() -> None:
    body = header() + attribute(A_CAP_LEN, be32(65535)) + attribute(A_PAYLOAD, b"x")
    assert netlink.read_messages(message(MSG_PACKET, body))[0]["cap_len"] == 65535


def test_a_hardware_address_that_is_not_ethernet_is_none() -> None:
    infiniband = struct.pack(">HH", 8, 0) + bytes(8)
    body = header() + attribute(A_HWADDR, infiniband) + attribute(A_PAYLOAD, b"x")
    assert netlink.read_messages(message(MSG_PACKET, body))[0]["source"] is None


def test_unknown_attributes_are_skipped() -> None:
    body = header() + attribute(200, b"later kernels") + attribute(A_PAYLOAD, b"x")
    assert netlink.read_messages(message(MSG_PACKET, body))[0]["payload"] == b"x"


def test_several_messages_in_one_datagram() -> None:
    first = message(MSG_PACKET, header(1) + attribute(A_PAYLOAD, b"abc"))
    second = message(MSG_PACKET, header(2) + attribute(A_PAYLOAD, b"d", pad=False))
    assert [one["id"] for one in netlink.read_messages(first + second)] == [1, 2]


def test_an_error_is_told_by_its_errno() -> None:
    body = struct.pack("=i", -2) + bytes(16)
    answer = struct.pack("=IHHII", 16 + len(body), NLMSG_ERROR, 0, 0, 0) + body
    assert netlink.read_messages(answer) == [{"kind": "error", "error": 2}]


PAYLOAD = attribute(A_PAYLOAD, b"x")
BROKEN = {
    "nothing of a header": b"\x10\x00",
    "length above the datagram": struct.pack("=IHHII", 400, 0x300, 0, 0, 0),
    "length below a header": struct.pack("=IHHII", 15, 0x300, 0, 0, 0),
    "no family header": struct.pack("=IHHII", 16, 0x300, 0, 0, 0),
    "error without errno": struct.pack("=IHHII", 18, NLMSG_ERROR, 0, 0, 0) + b"\x00\x00",
    "no attributes": message(MSG_PACKET, b""),
    "no packet header": message(MSG_PACKET, attribute(A_INDEV, be32(1)) + PAYLOAD),
    "short packet header": message(MSG_PACKET, attribute(A_PACKET_HDR, b"\0\0\0\1\x08\0") + PAYLOAD),
    "payload before all else": message(MSG_PACKET, PAYLOAD),
}
BROKEN_WITH_ID = {
    "no payload": message(MSG_PACKET, header(7)),
    "rest of three bytes": message(MSG_PACKET, header(7) + PAYLOAD + b"\0\0\0"),
    "attribute shorter than its header": message(MSG_PACKET, header(7) + struct.pack("=HH", 3, A_PAYLOAD)),
    "attribute longer than the message": message(MSG_PACKET, header(7) + struct.pack("=HH", 99, A_PAYLOAD)),
    "short interface index": message(MSG_PACKET, header(7) + attribute(A_INDEV, b"\0\0\1") + PAYLOAD),
    "short hardware address": message(MSG_PACKET, header(7) + attribute(A_HWADDR, bytes(11)) + PAYLOAD),
    "short tag": message(MSG_PACKET, header(7) + attribute(A_VLAN | NESTED, attribute(VLAN_TCI, b"\1")) + PAYLOAD),
    "tag longer than its nest": message(
        MSG_PACKET, header(7) + attribute(A_VLAN | NESTED, struct.pack("=HH", 9, VLAN_TCI) + b"\0\1") + PAYLOAD
    ),
}


@pytest.mark.parametrize("datagram", BROKEN.values(), ids=BROKEN)
def test_broken_messages_are_named_so(datagram: bytes) -> None:
    assert netlink.read_messages(datagram) == [{"kind": "malformed", "id": None}]


@pytest.mark.parametrize("datagram", BROKEN_WITH_ID.values(), ids=BROKEN_WITH_ID)
def test_of_a_broken_packet_message_the_id_remains(datagram: bytes) -> None:
    """So that the packet can be dropped instead of staying in the kernel's queue."""
    assert netlink.read_messages(datagram) == [{"kind": "malformed", "id": 7}]


GOOD = message(
    MSG_PACKET,
    header(3)
    + attribute(A_PHYSINDEV, be32(5))
    + attribute(A_VLAN | NESTED, attribute(VLAN_TCI, b"\0\1") + attribute(VLAN_PROTO, b"\x81\0"))
    + attribute(A_L2HDR, bytes(14))
    + attribute(A_HWADDR, struct.pack(">HH", 6, 0) + bytes(8))
    + attribute(A_PAYLOAD, bytes(60)),
)


@given(st.integers(0, len(GOOD)), st.binary(max_size=4), st.integers(0, len(GOOD)))
def test_no_damage_raises_or_reads_past_the_end(at: int, damage: bytes, length: int) -> None:
    damaged = (GOOD[:at] + damage + GOOD[at + len(damage) :])[:length]
    for one in netlink.read_messages(damaged):
        assert one["kind"] in ("packet", "malformed", "error", "other")
        if one["kind"] == "packet":
            assert one["payload"] in damaged


@given(st.binary(max_size=200))
def test_any_bytes(datagram: bytes) -> None:
    netlink.read_messages(datagram)


def parts(encoded: bytes) -> tuple[int, int, int, int, bytes]:
    """Length, type, flags, queue, attributes of an encoded message."""
    length, kind, flags, _, _ = struct.unpack_from("=IHHII", encoded)
    family, version, queue = struct.unpack_from(">BBH", encoded, 16)
    assert (family, version) == (0, 0)
    return length, kind, flags, queue, encoded[20:length]


@given(st.integers(0, 65535), st.integers(0, 2**32 - 1), st.sampled_from([DROP, ACCEPT]))
def test_one_verdict_for_all_up_to_an_id(queue: int, packet_id: int, verdict: int) -> None:
    encoded = netlink.encode_batch(queue, packet_id, verdict)
    length, kind, flags, number, attributes = parts(encoded)
    assert length == len(encoded)
    assert (kind, flags, number) == (NFNL_SUBSYS_QUEUE << 8 | MSG_VERDICT_BATCH, NLM_F_REQUEST, queue)
    assert attributes == attribute(A_VERDICT_HDR, struct.pack(">II", verdict, packet_id))


@given(st.integers(0, 2**32 - 1), st.binary(max_size=100))
def test_a_rewritten_packet(packet_id: int, payload: bytes) -> None:
    encoded = netlink.encode_rewrite(5, packet_id, payload)
    length, kind, flags, number, attributes = parts(encoded)
    assert len(encoded) == length + -length % 4
    assert not any(encoded[length:])
    assert (kind, flags, number) == (NFNL_SUBSYS_QUEUE << 8 | MSG_VERDICT, NLM_F_REQUEST, 5)
    verdict = attribute(A_VERDICT_HDR, struct.pack(">II", ACCEPT, packet_id))
    assert attributes == verdict + attribute(A_PAYLOAD, payload, pad=False)


def test_a_rewritten_packet_has_a_greatest_length() -> None:
    assert len(netlink.encode_rewrite(0, 1, bytes(65531))) == 36 + 65532
    with pytest.raises(ValueError, match="65531"):
        netlink.encode_rewrite(0, 1, bytes(65532))


@pytest.mark.parametrize("fail_open", [False, True])
def test_binding_states_everything(fail_open: bool) -> None:
    command_bind, copy_packet = 1, 2
    f_fail_open, f_conntrack, f_gso, f_uid_gid = 1, 2, 4, 8
    length, kind, flags, queue, attributes = parts(netlink.encode_bind(258, 16384, fail_open))
    assert (kind, flags, queue) == (NFNL_SUBSYS_QUEUE << 8 | MSG_CONFIG, NLM_F_REQUEST | NLM_F_ACK, 258)
    assert length == 20 + len(attributes)
    assert attributes == (
        attribute(1, struct.pack(">BBH", command_bind, 0, 0))
        + attribute(2, struct.pack(">IB", 0xFFFF, copy_packet) + bytes(3))
        + attribute(3, be32(16384))
        + attribute(4, be32(f_fail_open | f_conntrack | f_gso | f_uid_gid))
        + attribute(5, be32(f_fail_open if fail_open else 0))
    )
