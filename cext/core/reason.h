/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The one list of reasons: why a packet was not forwarded, and what was counted beside that. The enum, the counters,
 * the metrics and the screens are all made from it. X(name, text for the operator).
 *
 * Used by: engines (count), dataplane.pyx (names and texts). A new reason is a new line here and nothing else.
 */
#ifndef LV_REASON_H
#define LV_REASON_H

/* A packet was dropped because... */
#define LV_DROP_REASONS(X)                                                                                             \
    X(SHORT, "truncated", "packet ends before its headers do")                                                         \
    X(IP_HEADER, "ip_header", "IP header with impossible version or length")                                           \
    X(IP_CHECKSUM, "ip_checksum", "IPv4 header checksum is wrong")                                                     \
    X(IP_SOURCE, "ip_source", "source address that no client can have (multicast, loopback, zero, own)")               \
    X(EXT_HEADERS, "ipv6_headers", "too many or malformed IPv6 extension headers")                                     \
    X(FRAGMENT, "fragment", "IP fragment to a service that does not take fragments")                                   \
    X(TCP_HEADER, "tcp_header", "TCP header with impossible length or port 0")                                         \
    X(TCP_FLAGS, "tcp_flags", "impossible TCP flags (NULL, XMAS, SYN+FIN, SYN+RST, FIN without ACK)")                  \
    X(TCP_CHECKSUM, "tcp_checksum", "TCP checksum is wrong")                                                           \
    X(SIGNED, "tcp_signature", "SYN with a TCP-MD5 or TCP-AO signature: not wanted here, or too many a second")        \
    X(SYN_ANSWERED, "syn_answered", "SYN answered with a cookie (not a loss: this is the protection at work)")         \
    X(SYN_WATCHED, "syn_watched", "SYN repeated that its server has had already, from before protection began")        \
    X(NO_COOKIE_OUT, "ack_no_cookie_out", "ACK without a flow while no cookie is out")                                 \
    X(COOKIE_EXPIRED, "cookie_expired", "ACK for a cookie whose key is no longer valid")                               \
    X(COOKIE_INVALID, "cookie_invalid", "ACK that carries no valid cookie")                                            \
    X(COOKIE_ACCEPTED, "cookie_accepted", "ACK with a valid cookie, turned into a SYN to the server (not a loss)")     \
    X(NO_FLOW, "no_flow", "SYN-ACK, RST or FIN that belongs to no known connection")                                   \
    X(FLOW_TABLE_FULL, "flow_table_full", "valid cookie, but the flow table is full (TCP repeats the packet)")         \
    X(HELD, "held", "early data, held until the server has answered (not a loss)")                                     \
    X(HOLD_FULL, "hold_full", "early data that could not be held (TCP repeats it)")                                    \
    X(EARLY, "early", "client packet without data while the server has not answered yet")                              \
    X(SYN_IN_FLOW, "syn_in_flow", "SYN for a connection that exists, answered with a challenge ACK")                   \
    X(RST_INVALID, "rst_invalid", "RST outside the receive window")                                                    \
    X(SERVER_HANDSHAKE, "server_handshake", "server's answer to our SYN, consumed by the handshake (not a loss)")      \
    X(SERVER_UNEXPECTED, "server_unexpected", "server packet that fits no handshake, answered with RST")               \
    X(HANDOVER_FULL, "handover_full", "packet for the handshake, but the ring to user space is full (TCP repeats it)") \
    X(HANDOVER_SIZE, "handover_size", "packet for the handshake, but larger than the ring takes (TCP repeats it)")     \
    X(NOT_CHANGED, "not_changed", "packet that the kernel would not let be changed (no memory)")                       \
    X(NO_DAEMON, "no_daemon", "new connection while no daemon is at work, and the fail policy says closed")            \
    X(ICMP_NO_FLOW, "icmp_no_flow", "ICMP error about a connection that does not exist")                               \
    X(ICMP_INVALID, "icmp_invalid", "ICMP error malformed, or about a sequence number not in flight")                  \
    X(ICMP_CONSUMED, "icmp_consumed", "ICMP error that ended a handshake (not a loss)")                                \
    X(FORWARD_TARGET, "forward_target",                                                                                \
      "packet from outside to what a service forwards to, under the server's own name")                                \
    X(BLOCKED, "blocked", "source that is blocked, by the operator or for a time")                                     \
    X(TRAPPED, "trapped", "handshake completed with a trap: the source is blocked from now on (not a loss)")           \
    X(SOURCE_RATE, "source_rate", "valid cookie, but its source opened too many connections within a second")          \
    X(SOURCE_OPEN, "source_open", "valid cookie, but its source has too many connections open")

/* Other things worth a number, per service. */
#define LV_EVENTS(X)                                                                                                   \
    X(SYN_RECEIVED, "syn_received", "SYNs of clients")                                                                 \
    X(SYNACK_SENT, "synack_sent", "SYN-ACKs with a cookie sent")                                                       \
    X(SYNACK_RETRANS, "cookie_retrans", "SYN-ACKs sent again because no ACK came")                                     \
    X(COOKIE_VALID, "cookie_valid", "clients that completed the handshake")                                            \
    X(COOKIE_BAD, "cookie_invalid", "ACKs without a flow that carried no valid cookie")                                \
    X(SYN_SENT, "server_syn_sent", "SYNs sent to servers")                                                             \
    X(SYN_RETRANS, "server_syn_retrans", "SYNs sent to servers again")                                                 \
    X(OPENED, "opened", "connections opened to a server")                                                              \
    X(REFUSED, "refused", "connections the server refused")                                                            \
    X(TIMED_OUT, "timed_out", "connections the server did not answer")                                                 \
    X(CLOSED, "closed", "connections that ended with FIN or RST")                                                      \
    X(EXPIRED, "expired", "connections forgotten because they were idle too long")                                     \
    X(HELD_BYTES, "held_bytes", "bytes of early data held for a server")                                               \
    X(TRANSLATED, "translated", "packets of open connections translated")                                              \
    X(PASSED, "passed", "packets passed on untouched")                                                                 \
    X(WATCHED, "watched", "SYNs passed on to servers of a service that is only watched")                               \
    X(WATCHED_DONE, "watched_done", "watched handshakes that were completed, or refused by the server")                \
    X(SIGNED, "signed_passed", "SYNs with a TCP-MD5 or TCP-AO signature, passed on to servers")

enum lv_reason {
#define LV_ONE(id, name, text) LV_R_##id,
    LV_DROP_REASONS(LV_ONE)
#undef LV_ONE
        LV_R_COUNT
};

enum lv_event {
#define LV_ONE(id, name, text) LV_E_##id,
    LV_EVENTS(LV_ONE)
#undef LV_ONE
        LV_E_COUNT
};

#endif
