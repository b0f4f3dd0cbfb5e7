"""The data plane does what the reference does, packet by packet.

Hypothesis draws the service's settings and a conversation; differential.scene plays it through both boxes and raises
where they differ. The scripted conversations make sure that what matters most was really reached.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from reference.segment import ACK, FIN, PSH, RST, SYN, Options

from differential import moves
from differential.moves import ClientSyn, Flood, Move, ServerSynAck, Talk, Wait
from differential.scene import FULL, Policy, Scene

BARE = Options()
# The same conversations in every run of the suite; other ones, as many as are asked for, with LEVEE_CONVERSATIONS.
RANDOM = "LEVEE_CONVERSATIONS" in os.environ
CONVERSATIONS = int(os.environ.get("LEVEE_CONVERSATIONS", "200"))


def open_connection(scene: Scene, client: Options, server: Options) -> None:
    """Both handshakes, with everything in order."""
    stamps = client.timestamps is not None
    ClientSyn(client, 64240, ecn=False, step=0).play(scene)
    talk(ACK, stamps=stamps, window=502).play(scene)
    ServerSynAck(server, 65160, ecn=False, ack_shift=0).play(scene)


def talk(flags: int, *, client: bool = True, payload: int = 0, stamps: bool = False, window: int = 500) -> Talk:
    """A segment in order."""
    return Talk(client, flags, payload, seq_shift=0, ack_shift=0, window=window, stamps=stamps, ecn=0, sack=())


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("server", [FULL, BARE, Options(mss=1400, wscale=2, sack_ok=True)])
@pytest.mark.parametrize("client", [FULL, BARE, Options(mss=1220, wscale=14, timestamps=(0, 0))])
def test_whole_life(family: int, client: Options, server: Options) -> None:
    stamps = client.timestamps is not None
    with Scene(Policy(family=family), client_isn=0xFFFFFFF0, server_isn=0xFFFFFF00) as scene:
        open_connection(scene, client, server)
        sent = scene.client.next
        talk(ACK | PSH, payload=100, stamps=stamps).play(scene)
        assert scene.server.received == sent + 100 & 0xFFFFFFFF
        talk(ACK | PSH, client=False, payload=1400, stamps=stamps).play(scene)
        for client_side in (True, False):
            talk(ACK | FIN, client=client_side, stamps=stamps).play(scene)
        talk(ACK, stamps=stamps).play(scene)
        assert scene.server.received == scene.client.next
        ClientSyn(client, 64240, ecn=False, step=100_000).play(scene)  # the ports again, over TIME-WAIT
        talk(ACK, stamps=stamps).play(scene)
        assert scene.server.received == scene.client.next, "the new SYN reached the server"


def test_early_data_is_held_and_delivered() -> None:
    with Scene(Policy(), client_isn=1, server_isn=1) as scene:
        ClientSyn(FULL, 64240, ecn=False, step=0).play(scene)
        for _ in range(3):
            talk(ACK | PSH, payload=1400, stamps=True).play(scene)
        assert scene.server.received == 2, "only the SYN reached the server"
        ServerSynAck(FULL, 65160, ecn=False, ack_shift=0).play(scene)
        assert scene.server.received == scene.client.next


def test_cookie_alone_opens_with_the_exact_scale() -> None:
    with Scene(Policy(), client_isn=7, server_isn=9) as scene:
        syn = Options(mss=1460, wscale=9, sack_ok=True, timestamps=(0, 0))
        ClientSyn(syn, 64240, ecn=False, step=0).play(scene)
        Flood().play(scene)
        end = scene.client
        options = [("NOP", None), ("NOP", None), ("Timestamp", (5, end.echo))]
        arrived = scene.from_client(flags=ACK, seq=end.next, ack=end.received, window=125, options=options)
        assert [segment.flags for segment in arrived] == [SYN]
        assert arrived[0].options == Options(1460, 9, sack_ok=True, timestamps=(5, 0))


def test_refusing_and_silent_servers() -> None:
    with Scene(Policy(), client_isn=1, server_isn=1) as scene:
        ClientSyn(FULL, 64240, ecn=False, step=0).play(scene)
        talk(ACK, stamps=True).play(scene)
        [refusal] = scene.from_server(flags=RST | ACK, seq=0, ack=scene.server.received)
        assert (refusal.flags, refusal.seq) == (RST | ACK, scene.client.received)
        ClientSyn(FULL, 64240, ecn=False, step=1000).play(scene)
        talk(ACK, stamps=True).play(scene)
        assert [segment.flags for segment in scene.wait(20_000)] == [SYN, SYN, SYN, RST | ACK]


def test_unanswered_syn_ack_is_repeated() -> None:
    with Scene(Policy(), client_isn=1, server_isn=1) as scene:
        ClientSyn(BARE, 64240, ecn=False, step=0).play(scene)
        assert [segment.flags for segment in scene.wait(20_000)] == [SYN | ACK] * 3


@given(moves.policies, moves.numbers, moves.numbers, moves.conversations())
@settings(
    max_examples=CONVERSATIONS,
    derandomize=not RANDOM,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_any_conversation(policy: Policy, client_isn: int, server_isn: int, conversation: list[Move]) -> None:
    with Scene(policy, client_isn, server_isn) as scene:
        for move in conversation:
            move.play(scene)


def test_time_alone() -> None:
    with Scene(Policy(), client_isn=1, server_isn=1) as scene:
        Wait(100_000).play(scene)
        assert scene.log == []
