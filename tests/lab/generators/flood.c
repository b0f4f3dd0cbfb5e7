/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * flood: a bounded flood of forged TCP packets, for the lab only.
 *
 * Owns arguments and sending: whole Ethernet frames by AF_PACKET, sendmmsg and
 * PACKET_QDISC_BYPASS, one thread. Started by netlab/flood.py and by benchmarks. Compiled at test
 * time with: cc -O2 -o flood flood.c
 *
 * It refuses to run anywhere but in a namespace of the lab: no default route, and no address that
 * is not loopback, link-local, 198.18.0.0/15 (RFC 2544) or 2001:db8::/32 (RFC 3849). Targets and
 * sources must lie in those ranges too. Count and time are mandatory and both bound the run.
 *
 * Addresses are kept as bytes in network order; ports and lengths in host order until written.
 * Prints one line of JSON: {"sent": n, "refused": n, "seconds": s, "pps": n}
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <time.h>
#include <unistd.h>

#include "packet.h"

/* ---- sending ---- */

static int open_socket(const char *interface)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = 0};
    int one = 1, file = socket(AF_PACKET, SOCK_RAW, 0);

    if (file < 0)
        die_errno("AF_PACKET socket");
    address.sll_ifindex = (int)if_nametoindex(interface);
    if (address.sll_ifindex == 0)
        die_errno(interface);
    if (bind(file, (struct sockaddr *)&address, sizeof(address)) != 0)
        die_errno("bind");
    if (setsockopt(file, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) != 0)
        die_errno("PACKET_QDISC_BYPASS");
    return file;
}

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void wait_until(double when_s)
{
    double left_s = when_s - now_s();

    if (left_s > 0)
        usleep((useconds_t)(left_s * 1e6));
}

static void flood(const struct plan *plan)
{
    static uint8_t frames[BATCH][FRAME_BYTES];
    struct mmsghdr messages[BATCH] = {0};
    struct iovec parts[BATCH];
    uint64_t made = 0, sent = 0, refused = 0, full = BATCH;
    int file = open_socket(plan->interface);
    double start_s = now_s(), seconds;

    if (plan->rate_pps != 0 && plan->rate_pps < BATCH * BATCHES_PER_S)
        full = plan->rate_pps / BATCHES_PER_S + 1;
    while (made < plan->count && now_s() - start_s < plan->seconds) {
        uint64_t batch = plan->count - made < full ? plan->count - made : full;

        for (uint64_t i = 0; i < batch; i++) {
            parts[i].iov_base = frames[i];
            parts[i].iov_len = next_frame(plan, made + i, frames[i]);
            messages[i].msg_hdr.msg_iov = &parts[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        made += batch;
        for (uint64_t done = 0; done < batch;) {
            int n = sendmmsg(file, messages + done, (unsigned int)(batch - done), 0);

            if (n < 0 && errno != ENOBUFS && errno != EAGAIN && errno != EINTR)
                die_errno("sendmmsg");
            if (n < 0 && errno == EINTR)
                continue;
            /* ENOBUFS: the interface dropped this one frame; it is not sent again. */
            refused += n < 0;
            sent += n < 0 ? 0 : (uint64_t)n;
            done += n < 0 ? 1 : (uint64_t)n;
        }
        if (plan->rate_pps != 0)
            wait_until(start_s + (double)made / (double)plan->rate_pps);
    }
    seconds = now_s() - start_s;
    close(file);
    printf("{\"sent\": %llu, \"refused\": %llu, \"seconds\": %.6f, \"pps\": %.0f}\n", (unsigned long long)sent,
           (unsigned long long)refused, seconds, seconds > 0 ? (double)sent / seconds : 0.0);
}

/* ---- arguments ---- */

static uint8_t parse_address(const char *text, uint8_t *address)
{
    uint8_t bytes = strchr(text, ':') != NULL ? 16 : 4;

    if (inet_pton(bytes == 4 ? AF_INET : AF_INET6, text, address) != 1)
        die("an address is not one");
    return bytes;
}

static uint64_t parse_number(const char *text, uint64_t low, uint64_t high, const char *what)
{
    char *end;
    unsigned long long number = strtoull(text, &end, 10);

    if (*text == '\0' || *end != '\0' || number < low || number > high) {
        fprintf(stderr, "flood: %s must be %llu-%llu, not '%s'\n", what, (unsigned long long)low,
                (unsigned long long)high, text);
        exit(2);
    }
    return number;
}

static void parse_source(struct plan *plan, char *text)
{
    char *slash = strchr(text, '/');
    uint8_t bytes;

    if (slash == NULL)
        die("--source must be a prefix: ADDRESS/LENGTH");
    *slash = '\0';
    bytes = parse_address(text, plan->source);
    plan->source_bits = (unsigned int)parse_number(slash + 1, bytes == 4 ? 15 : 32, bytes * 8u, "length of --source");
    if (plan->address_bytes != 0 && plan->address_bytes != bytes)
        die("--source and --destination are of different families");
    plan->address_bytes = bytes;
}

static void parse_destination(struct plan *plan, const char *text)
{
    uint8_t bytes = parse_address(text, plan->destination);

    if (plan->address_bytes != 0 && plan->address_bytes != bytes)
        die("--source and --destination are of different families");
    plan->address_bytes = bytes;
}

static void parse_ports(struct plan *plan, char *text)
{
    char *dash = strchr(text, '-');

    if (dash != NULL)
        *dash = '\0';
    plan->port_low = (uint16_t)parse_number(text, 1, 65535, "--port");
    plan->port_high =
        dash == NULL ? plan->port_low : (uint16_t)parse_number(dash + 1, plan->port_low, 65535, "end of --port");
}

static void parse_mac(const char *text, uint8_t *mac)
{
    unsigned int part[6];

    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", &part[0], &part[1], &part[2], &part[3], &part[4], &part[5]) != 6)
        die("a MAC must be six pairs of hexadecimal digits");
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)part[i];
}

static void parse_keep_out(struct plan *plan, char *text)
{
    char *dash = strchr(text, '-');
    struct range *range;

    if (plan->keep_outs == KEEP_OUT_MAX)
        die("too many --keep-out");
    if (dash == NULL)
        die("--keep-out must be LOW-HIGH");
    *dash = '\0';
    range = &plan->keep_out[plan->keep_outs++];
    parse_address(text, range->low);
    parse_address(dash + 1, range->high);
}

static void parse_kind(struct plan *plan, const char *name)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].name, name) == 0)
            plan->kind = &kinds[i];
    if (plan->kind == NULL)
        die("--kind: syn, syn-options, syn-ack, ack, rst, fin, xmas, null or cookie");
}

static void parse(struct plan *plan, int argc, char **argv)
{
    static const struct option options[] = {
        {"kind", 1, NULL, 'k'},        {"interface", 1, NULL, 'i'},
        {"count", 1, NULL, 'c'},       {"seconds", 1, NULL, 's'},
        {"rate", 1, NULL, 'r'},        {"source", 1, NULL, 'S'},
        {"destination", 1, NULL, 'D'}, {"port", 1, NULL, 'p'},
        {"source-mac", 1, NULL, 'm'},  {"destination-mac", 1, NULL, 'M'},
        {"keep-out", 1, NULL, 'x'},    {"vlan", 1, NULL, 'v'},
        {"seed", 1, NULL, 'n'},        {NULL, 0, NULL, 0},
    };
    unsigned int given = 0; /* bit per mandatory option */
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        const char *place = strchr("kicsSDpmM", option);

        if (place != NULL)
            given |= 1u << (place - "kicsSDpmM");
        switch (option) {
        case 'k': parse_kind(plan, optarg); break;
        case 'i': plan->interface = optarg; break;
        case 'c': plan->count = parse_number(optarg, 1, COUNT_MAX, "--count"); break;
        case 's': plan->seconds = (double)parse_number(optarg, 1, SECONDS_MAX, "--seconds"); break;
        case 'r': plan->rate_pps = parse_number(optarg, 0, 100000000, "--rate"); break;
        case 'S': parse_source(plan, optarg); break;
        case 'D': parse_destination(plan, optarg); break;
        case 'p': parse_ports(plan, optarg); break;
        case 'm': parse_mac(optarg, plan->source_mac); break;
        case 'M': parse_mac(optarg, plan->destination_mac); break;
        case 'x': parse_keep_out(plan, optarg); break;
        case 'v':
            if (plan->tags == TAGS_MAX)
                die("too many --vlan");
            plan->tag[plan->tags++] = (uint16_t)parse_number(optarg, 1, 4094, "--vlan");
            break;
        case 'n': plan->seed = parse_number(optarg, 0, UINT64_MAX, "--seed"); break;
        default: exit(2);
        }
    }
    if (given != (1u << 9) - 1)
        die("mandatory: --kind --interface --count --seconds --source --destination --port "
            "--source-mac --destination-mac");
    if (!in_test_network(plan->destination, plan->address_bytes) || !in_test_network(plan->source, plan->address_bytes))
        die("source and destination must lie in 198.18.0.0/15 or 2001:db8::/32");
}

int main(int argc, char **argv)
{
    struct plan plan = {0};

    parse(&plan, argc, argv);
    refuse_outside_the_lab();
    random_state = plan.seed;
    flood(&plan);
    return 0;
}
