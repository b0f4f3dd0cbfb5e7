/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * delayline: a long cable. What comes in on either of two interfaces leaves by the other one, so many microseconds later.
 *
 *     delayline INTERFACE INTERFACE MICROSECONDS
 *
 * Owns two packet sockets and a queue each way. Started by distance.py, in a namespace that does nothing else. Offloads of
 * whoever sends into it must be off: a frame is passed on as it came, and nobody completes its checksum. A frame that finds
 * the queue full is lost, and counted: said on stderr at the end (SIGTERM).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum limits {
    QUEUE = 16384, /* frames each way: 20 ms of 800,000 a second */
    FRAME_BYTES = 1600,
    SOCKET_BYTES = 1 << 24,
};

struct frame {
    uint64_t due_ns;
    uint32_t bytes;
    uint8_t data[FRAME_BYTES];
};

struct way {
    int in, out;
    uint32_t first, count;
    struct frame *queue;
};

static volatile sig_atomic_t ended;
static uint64_t lost;

static void die(const char *what)
{
    fprintf(stderr, "delayline: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void on_end(int number)
{
    (void)number;
    ended = 1;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int open_socket(const char *interface)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int one = 1, bytes = SOCKET_BYTES, file = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);

    address.sll_ifindex = (int)if_nametoindex(interface);
    if (file < 0 || address.sll_ifindex == 0)
        die(interface);
    if (setsockopt(file, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) != 0 ||
        setsockopt(file, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) != 0 ||
        setsockopt(file, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0)
        die("setsockopt");
    if (bind(file, (struct sockaddr *)&address, sizeof(address)) != 0)
        die("bind");
    return file;
}

static void take_in(struct way *way, uint64_t delay_ns)
{
    for (;;) {
        struct frame *frame = &way->queue[(way->first + way->count) % QUEUE], spare;
        ssize_t bytes;

        if (way->count == QUEUE)
            frame = &spare;
        bytes = recv(way->in, frame->data, FRAME_BYTES, MSG_TRUNC);
        if (bytes < 0 && (errno == EAGAIN || errno == EINTR || errno == ENETDOWN))
            return;
        if (bytes < 0)
            die("recv");
        if (frame == &spare || bytes > FRAME_BYTES) {
            lost++;
            continue;
        }
        frame->bytes = (uint32_t)bytes;
        frame->due_ns = now_ns() + delay_ns;
        way->count++;
    }
}

/* Send what is due. Returns when the next one is, UINT64_MAX for nothing. */
static uint64_t let_out(struct way *way)
{
    while (way->count != 0) {
        struct frame *frame = &way->queue[way->first];

        if (frame->due_ns > now_ns())
            return frame->due_ns;
        if (send(way->out, frame->data, frame->bytes, 0) < 0)
            lost++;
        way->first = (way->first + 1) % QUEUE;
        way->count--;
    }
    return UINT64_MAX;
}

int main(int argc, char **argv)
{
    struct way way[2] = {0};
    struct pollfd files[2];
    uint64_t delay_ns;

    if (argc != 4) {
        fputs("delayline: INTERFACE INTERFACE MICROSECONDS\n", stderr);
        return 2;
    }
    delay_ns = strtoull(argv[3], NULL, 10) * 1000;
    signal(SIGTERM, on_end);
    for (int i = 0; i < 2; i++) {
        way[i].in = open_socket(argv[1 + i]);
        way[i].queue = malloc(sizeof(struct frame) * QUEUE);
        if (way[i].queue == NULL)
            die("memory");
        files[i] = (struct pollfd){.fd = way[i].in, .events = POLLIN};
    }
    way[0].out = way[1].in;
    way[1].out = way[0].in;
    puts("ready");
    fflush(stdout);
    while (!ended) {
        uint64_t next_ns = let_out(&way[0]), other_ns = let_out(&way[1]), now = now_ns();
        struct timespec wait = {1, 0};

        if (other_ns < next_ns)
            next_ns = other_ns;
        if (next_ns != UINT64_MAX)
            wait = (struct timespec){0, next_ns > now ? (long)(next_ns - now) : 0};
        if (ppoll(files, 2, &wait, NULL) < 0 && errno != EINTR)
            die("ppoll");
        for (int i = 0; i < 2; i++)
            take_in(&way[i], delay_ns);
    }
    fprintf(stderr, "%llu frames lost\n", (unsigned long long)lost);
    return lost != 0;
}
