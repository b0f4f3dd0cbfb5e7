"""Single segments at chosen moments: retransmissions, early data, odd first packets, old duplicates.

Both ends are crafted, so every packet that the box makes or translates is seen.
"""

from __future__ import annotations

import pytest
from netlab.crafted import FULL_OPTIONS, option, payload
from netlab.pairs import established, exchange, proved, unopened
from netlab.session import Lab
from scapy.layers.inet import TCP

TWO_TO_32 = 1 << 32


def test_established(lab: Lab, family: int) -> None:
    with established(lab, family) as pair:
        exchange(pair)


def test_ack_to_the_server_is_the_clients_next_number(lab: Lab, family: int) -> None:
    with proved(lab, family) as pair:
        syn = pair.server.accept()
        assert syn[TCP].seq == pair.client.isn
        ack = pair.server.expect("A")
        assert (ack[TCP].seq, ack[TCP].ack) == (pair.client.seq, pair.server.seq)


def test_retransmitted_syn_gets_the_same_answer(lab: Lab, family: int) -> None:
    with unopened(lab, family) as pair:
        first = pair.client.connect()
        pair.client.send("S", seq=pair.client.isn, options=FULL_OPTIONS)
        again = pair.client.expect("SA")
        assert again[TCP].seq == first[TCP].seq
        pair.client.send("A")
        pair.server.accept()
        exchange(pair)


def test_retransmitted_syn_after_the_handshake(lab: Lab, family: int) -> None:
    """The SYN was duplicated in the network: the flow lives on."""
    with established(lab, family) as pair:
        pair.client.send("S", seq=pair.client.isn, options=FULL_OPTIONS)
        exchange(pair)


def test_retransmitted_final_ack_opens_once(lab: Lab, family: int) -> None:
    with unopened(lab, family) as pair:
        pair.client.connect()
        pair.client.send("A")
        pair.client.send("A")
        pair.server.accept()
        exchange(pair)


def test_lost_final_ack_and_a_client_that_speaks_first(lab: Lab, family: int) -> None:
    """The ACK without data never came; the first data carries the same proof."""
    with unopened(lab, family) as pair:
        pair.client.connect()
        pair.client.send("PA", b"hello")
        pair.server.accept()
        assert pair.server.expect_data(5) == b"hello"
        exchange(pair)


def test_lost_final_ack_and_a_server_that_speaks_first(lab: Lab, family: int) -> None:
    """The box repeats its SYN-ACK, so that the client's kernel repeats its ACK."""
    with unopened(lab, family) as pair:
        first = pair.client.connect()
        again = pair.client.expect("SA", limit_s=4.0)
        assert again[TCP].seq == first[TCP].seq
        pair.client.send("A")
        pair.server.accept()
        pair.server.send("PA", b"220 ready\r\n")
        assert pair.client.expect_data(11) == b"220 ready\r\n"


def test_lost_ack_to_the_server(lab: Lab, family: int) -> None:
    """The server did not get the box's ACK and repeats its SYN-ACK: it is answered again."""
    with established(lab, family) as pair:
        server = pair.server
        server.send("SA", seq=server.isn, options=FULL_OPTIONS[:1])
        server.expect("A", lambda p: p[TCP].ack == server.seq)
        exchange(pair)


def test_data_in_the_syn(lab: Lab, family: int) -> None:
    """Data in a SYN is not acknowledged by the SYN-ACK; TCP sends it again (RFC 9293, 3.4)."""
    with unopened(lab, family) as pair:
        pair.client.send_raw(pair.client.packet("S", b"early", options=FULL_OPTIONS))
        pair.client.seq += 1
        answer = pair.client.expect("SA")
        assert answer[TCP].ack == pair.client.seq
        pair.client.ack = answer[TCP].seq + 1
        pair.client.timestamps = (1000, option(answer, "Timestamp")[0])
        pair.client.send("PA", b"early")
        pair.server.accept()
        assert pair.server.expect_data(5) == b"early"
        exchange(pair)


def test_early_segments_out_of_order(lab: Lab, family: int) -> None:
    """Out of order before the server answered: what is not held is sent again, and nothing is mixed up."""
    with proved(lab, family) as pair:
        start = pair.client.seq
        segments = [bytes([97 + place]) * 100 for place in range(3)]
        for place in (2, 0, 1):
            pair.client.send("PA", segments[place], seq=start + place * 100)
        pair.server.accept()
        assert pair.server.expect_data(200) == segments[0] + segments[1]
        pair.client.send("PA", segments[2], seq=start + 200)
        assert pair.server.expect_data(100) == segments[2]


def test_early_data_twice_is_delivered_as_one_stream(lab: Lab, family: int) -> None:
    """The client retransmits while the server is slow: the bytes still make one stream."""
    with proved(lab, family) as pair:
        start = pair.client.seq
        for _ in range(3):
            pair.client.send("PA", b"patience", seq=start)
        pair.client.seq = (start + 8) % TWO_TO_32
        pair.server.accept()
        assert pair.server.expect_data(8) == b"patience"


def test_fin_with_early_data(lab: Lab, family: int) -> None:
    """Request and end of stream before the server answered: both arrive."""
    with proved(lab, family) as pair:
        pair.client.send("FPA", b"last words")
        pair.server.accept()
        assert pair.server.expect_data(10) == b"last words"
        pair.server.send("A", ack=pair.server.ack + 1)
        pair.client.expect("A", lambda p: p[TCP].ack == pair.client.seq)


def test_keep_alive_first(lab: Lab, family: int) -> None:
    """A probe with the number before the next one: it must reach the server, and the answer too."""
    with established(lab, family) as pair:
        pair.client.send("A", seq=pair.client.seq - 1)
        probe = pair.server.expect("A")
        assert probe[TCP].seq == (pair.client.seq - 1) % TWO_TO_32
        pair.server.send("A")
        pair.client.expect("A", lambda p: p[TCP].ack == pair.client.seq)
        exchange(pair)


def test_window_probe_first(lab: Lab, family: int) -> None:
    """One byte beyond, as against a window of zero."""
    with established(lab, family) as pair:
        pair.client.send("A", b"p")
        assert pair.server.expect_data(1) == b"p"


def test_syn_for_an_established_flow_of_a_restarted_client(lab: Lab, family: int) -> None:
    """The client lost its state and comes back from the same port (RFC 9293, 3.5.1).

    As without a box: it gets an ACK with the old numbers, resets, and connects anew.
    """
    with established(lab, family) as pair:
        exchange(pair)
        client = pair.client
        old_seq, old_ack = client.seq, client.ack
        client.isn = client.seq = (old_seq + 0x2000_0000) % TWO_TO_32
        client.timestamps = None
        client.send("S", options=FULL_OPTIONS)
        answer = client.receive()
        assert answer is not None
        if answer[TCP].flags == "A":
            assert answer[TCP].ack == old_seq
            client.send("R", seq=answer[TCP].ack, options=())
            client.seq = client.isn
            client.send("S", options=FULL_OPTIONS)
            answer = client.expect("SA", lambda p: p[TCP].ack == client.seq)
        assert answer[TCP].flags == "SA"
        assert answer[TCP].ack == client.seq
        assert answer[TCP].seq + 1 != old_ack


def test_old_duplicate_syn_opens_nothing(lab: Lab, family: int) -> None:
    """The answer to it is no answer to the client's own SYN: the client resets, the server is spared."""
    with unopened(lab, family) as pair:
        client = pair.client
        client.send("S", seq=client.isn - 500_000, options=FULL_OPTIONS)
        wrong = client.expect("SA")
        client.send("R", seq=wrong[TCP].ack, options=())
        client.connect()
        client.send("A")
        syn = pair.server.accept()
        assert syn[TCP].seq == client.isn
        exchange(pair)


def test_sequence_numbers_wrap(lab: Lab, family: int) -> None:
    with unopened(lab, family) as pair:
        pair.client.isn = pair.client.seq = TWO_TO_32 - 5
        pair.server.isn = pair.server.seq = TWO_TO_32 - 3
        pair.client.connect()
        pair.client.send("A")
        pair.server.accept()
        exchange(pair)


def test_sack_blocks_are_translated(lab: Lab, family: int) -> None:
    """The client reports a hole in the server's data: the block is in the server's numbers there."""
    with established(lab, family) as pair:
        pair.server.send("PA", b"x" * 100)
        client_view = pair.client.receive()
        assert client_view is not None
        base = client_view[TCP].seq
        pair.server.send("PA", b"y" * 100)
        pair.client.send(
            "A",
            options=(
                ("NOP", None),
                ("NOP", None),
                ("SAck", (base + 100, base + 200)),
                ("NOP", None),
                ("NOP", None),
                ("Timestamp", pair.client.timestamps),
            ),
        )
        packet = pair.server.expect("A", lambda p: option(p, "SAck") is not None)
        first = (pair.server.isn + 1) % TWO_TO_32
        assert option(packet, "SAck") == ((first + 100) % TWO_TO_32, (first + 200) % TWO_TO_32)
        assert packet[TCP].ack == first


def test_timestamps_are_translated(lab: Lab, family: int) -> None:
    """TSecr towards the server repeats what the server said, not what the box said in its place."""
    with established(lab, family) as pair:
        pair.server.timestamps = (7777, 1000)
        pair.server.send("PA", b"x")
        seen = pair.client.expect("PA")
        client_val = option(seen, "Timestamp")[0]
        assert option(seen, "Timestamp")[1] == 1000
        pair.client.ack += 1
        pair.client.timestamps = (1001, client_val)
        pair.client.send("A")
        packet = pair.server.expect("A", lambda p: p[TCP].ack == pair.server.seq)
        assert option(packet, "Timestamp") == (1001, 7777)


@pytest.mark.parametrize("closer", ["client", "server"])
def test_retransmitted_fin(lab: Lab, family: int, closer: str) -> None:
    """FIN twice, each end: both copies arrive, the connection ends as it should."""
    with established(lab, family) as pair:
        first, second = (pair.client, pair.server) if closer == "client" else (pair.server, pair.client)
        place = first.seq
        first.send("FA")
        first.send("FA", seq=place)
        for _ in range(2):
            second.expect("FA")
        second.ack += 1
        second.send("FA")
        first.expect("FA")
        first.ack += 1
        first.send("A")
        second.expect("A", lambda p: p[TCP].ack == second.seq)


def test_urgent_pointer_is_untouched(lab: Lab, family: int) -> None:
    with established(lab, family) as pair:
        pair.client.send("PAU", b"now!", urgent=4)
        packet = pair.server.expect("PAU")
        assert packet[TCP].urgptr == 4
        assert payload(packet) == b"now!"


def test_timestamps_wrap(lab: Lab, family: int) -> None:
    """Both clocks pass 2^32 in mid-connection: differences stay what they are (RFC 7323, 5.2)."""
    with established(lab, family) as pair:
        seen = []
        for value in (TWO_TO_32 - 16, 8):
            pair.server.timestamps = (value, 1000)
            pair.server.send("PA", b"x")
            seen.append(option(pair.client.expect("PA"), "Timestamp")[0])
            pair.client.ack += 1
            pair.client.timestamps = (value, seen[-1])
            pair.client.send("A")
            packet = pair.server.expect("A", lambda p: p[TCP].ack == pair.server.seq)
            assert option(packet, "Timestamp") == (value, value)
        assert (seen[1] - seen[0]) % TWO_TO_32 == 24


def test_old_timestamp_is_the_ends_to_judge(lab: Lab, family: int) -> None:
    """A segment that PAWS would refuse (RFC 7323, 5.3) crosses the box: who knows the connection decides."""
    with established(lab, family) as pair:
        assert pair.client.timestamps is not None
        pair.client.timestamps = (900, pair.client.timestamps[1])
        pair.client.send("PA", b"late")
        packet = pair.server.expect("PA")
        assert (payload(packet), option(packet, "Timestamp")[0]) == (b"late", 900)


@pytest.mark.parametrize("server_has_it", [True, False], ids=["server-too", "server-not"])
def test_ecn_is_agreed_end_to_end(lab: Lab, family: int, server_has_it: bool) -> None:
    """The server is asked, its answer is known to the next client, and marks cross the box (RFC 3168, 6.1.1)."""
    answer = "SAE" if server_has_it else "SA"
    with lab.crafted_server(family) as server:
        for round_number in range(2):
            with lab.crafted_client(family, server.local_port) as client:
                client.send("SEC", options=FULL_OPTIONS)
                syn_ack = client.expect(answer if round_number else "SA")
                client.ack = syn_ack[TCP].seq + 1
                client.timestamps = (1000, option(syn_ack, "Timestamp")[0])
                client.send("A")
                server.seq = server.isn = server.isn + 1_000_000
                syn = server.expect("SEC")
                server.answer(syn, flags=answer)
                server.expect("A", lambda p: p[TCP].ack == server.seq)
                client.send("PAC", b"reduced")
                assert payload(server.expect("PAC")) == b"reduced"
                client.send("R", options=())
                server.expect("R")
                server.remote_port = None


def test_accurate_ecn_falls_back_to_ecn(lab: Lab, family: int) -> None:
    """AE, CWR and ECE ask for accurate ECN; an answer with ECE alone agrees on the classic one (RFC 9768, 3.1.2)."""
    with lab.crafted_server(family) as server:
        for round_number in range(2):
            with lab.crafted_client(family, server.local_port) as client:
                client.send("SECN", options=FULL_OPTIONS)
                syn_ack = client.expect("SAE" if round_number else "SA")
                client.ack = syn_ack[TCP].seq + 1
                client.timestamps = (1000, option(syn_ack, "Timestamp")[0])
                client.send("A")
                server.seq = server.isn = server.isn + 1_000_000
                server.answer(server.expect("SEC"), flags="SAE")
                server.expect("A", lambda p: p[TCP].ack == server.seq)
                client.send("R", options=())
                server.expect("R")
                server.remote_port = None
