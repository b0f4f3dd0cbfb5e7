/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * short: many short connections, each one checked to its last byte.
 *
 *     short serve PORT                              answer on all addresses, until ended
 *     short connect ADDRESS PORT COUNT CLIENTS      COUNT connections, CLIENTS at a time
 *
 * Owns sockets and the conversation: the client says how much it sends, how much it wants and who ends, sends, and reads;
 * the server answers with bytes that only this connection has. Every connection has another MSS, receive buffer, length
 * and ending, by its number. Started by netlab/short.py. Prints one line of JSON: {"finished": n, "failed": n, "late": n,
 * "why": text of the first failure}; late are those that stood still for PATIENCE_S.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum limits {
    CLIENTS_MAX = 4096,
    FILES_MAX = 65536,
    EVENTS = 256,
    BACKLOG = 4096,
    BYTES_MAX = 6000,
    PATIENCE_S = 60,
    HEADER_BYTES = 9,
};

/* Who ends a connection, and how. */
enum ending { SERVER_CLOSES, CLIENT_CLOSES, CLIENT_HALF_CLOSES, CLIENT_RESETS, ENDINGS };

struct header {
    uint32_t number;
    uint16_t up, down;
    uint8_t ending;
};

struct talk {
    int file; /* -1: none */
    struct header header;
    uint8_t raw[HEADER_BYTES];
    uint32_t sent, received; /* bytes, the header among them */
    time_t start_s;
};

static void die(const char *what)
{
    fprintf(stderr, "short: %s: %s\n", what, strerror(errno));
    exit(1);
}

static time_t now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* The byte at a place of a connection's stream. */
static uint8_t byte_of(uint32_t number, uint32_t at, bool up)
{
    return (uint8_t)(((number + (up ? 0x5bd1u : 0)) * 2654435761u >> 11) + at * 31u);
}

static void write_header(uint8_t *p, const struct header *h)
{
    memcpy(p, &h->number, 4);
    memcpy(p + 4, &h->up, 2);
    memcpy(p + 6, &h->down, 2);
    p[8] = h->ending;
}

static void read_header(const uint8_t *p, struct header *h)
{
    memcpy(&h->number, p, 4);
    memcpy(&h->up, p + 4, 2);
    memcpy(&h->down, p + 6, 2);
    h->ending = p[8];
}

static void watch(int poll, int how, int file, uint32_t events, uint64_t tag)
{
    struct epoll_event event = {.events = events, .data.u64 = tag};

    if (epoll_ctl(poll, how, file, &event) != 0)
        die("epoll_ctl");
}

static void set(int file, int level, int option, int value)
{
    if (setsockopt(file, level, option, &value, sizeof(value)) != 0)
        die("setsockopt");
}

/* Send the stream from `done` on; returns how far it came, -1 for an error. */
static int64_t send_stream(int file, const struct header *h, uint32_t done, uint32_t length, bool up)
{
    uint8_t bytes[BYTES_MAX + HEADER_BYTES];
    uint32_t skip = up ? HEADER_BYTES : 0;

    if (up)
        write_header(bytes, h);
    for (uint32_t i = skip; i < length; i++)
        bytes[i] = byte_of(h->number, i, up);
    while (done < length) {
        ssize_t n = send(file, bytes + done, length - done, MSG_NOSIGNAL);

        if (n < 0)
            return errno == EAGAIN ? (int64_t)done : -1;
        done += (uint32_t)n;
    }
    return (int64_t)done;
}

/* ---- the server ---- */

static struct talk *answering;

static void end_answer(struct talk *t)
{
    close(t->file);
    t->file = -1;
}

static void begin_answers(int poll, int listener)
{
    for (;;) {
        int file = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

        if (file < 0)
            return;
        if (file >= FILES_MAX) {
            close(file);
            continue;
        }
        memset(&answering[file], 0, sizeof(*answering));
        answering[file].file = file;
        watch(poll, EPOLL_CTL_ADD, file, EPOLLIN, (uint64_t)file);
    }
}

static void answer(int poll, struct talk *t)
{
    uint8_t bytes[4096];
    ssize_t n;

    while ((n = recv(t->file, bytes, sizeof(bytes), 0)) > 0) {
        for (ssize_t i = 0; i < n; i++, t->received++) {
            if (t->received < HEADER_BYTES)
                t->raw[t->received] = bytes[i];
            else if (bytes[i] != byte_of(t->header.number, t->received, true)) {
                set(t->file, SOL_SOCKET, SO_RCVBUF, 1);
                end_answer(t); /* with data unread: the client is reset, and says so */
                return;
            }
            if (t->received == HEADER_BYTES - 1)
                read_header(t->raw, &t->header);
        }
    }
    if (n < 0 && errno != EAGAIN) {
        end_answer(t);
        return;
    }
    if (n == 0 && (t->sent == t->header.down || t->received < HEADER_BYTES)) {
        end_answer(t);
        return;
    }
    if (t->received >= HEADER_BYTES && t->received == (uint32_t)t->header.up + HEADER_BYTES) {
        int64_t sent = send_stream(t->file, &t->header, t->sent, t->header.down, false);

        t->sent = sent < 0 ? t->sent : (uint32_t)sent;
        if (sent < 0 || (t->sent == t->header.down && (n == 0 || t->header.ending == SERVER_CLOSES)))
            end_answer(t);
        else
            watch(poll, EPOLL_CTL_MOD, t->file, EPOLLIN | (t->sent < t->header.down ? EPOLLOUT : 0), (uint64_t)t->file);
    }
}

static int listener_on(const char *port)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
    int file = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (file < 0)
        die("socket");
    set(file, SOL_SOCKET, SO_REUSEADDR, 1);
    set(file, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(file, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(file, BACKLOG) != 0)
        die("listen");
    return file;
}

static void serve(const char *port)
{
    struct epoll_event events[EVENTS];
    int poll = epoll_create1(0), listener = listener_on(port);

    answering = calloc(FILES_MAX, sizeof(*answering));
    if (answering == NULL || poll < 0)
        die("start");
    watch(poll, EPOLL_CTL_ADD, listener, EPOLLIN, (uint64_t)listener);
    for (;;) {
        int n = epoll_wait(poll, events, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == (uint64_t)listener)
                begin_answers(poll, listener);
            else if (answering[events[i].data.u64].file >= 0)
                answer(poll, &answering[events[i].data.u64]);
        }
    }
}

/* ---- the clients ---- */

static struct talk asking[CLIENTS_MAX];
static uint64_t finished, failed, late;
static char why[160];

static void give_up(struct talk *t, const char *what)
{
    if (why[0] == '\0')
        snprintf(why, sizeof(why), "number %u, ending %u: %s: %s", t->header.number, t->header.ending, what,
                 strerror(errno));
    failed++;
    close(t->file);
    t->file = -1;
}

/* Returns whether it was begun: with every port still in TIME-WAIT it has to wait. */
static bool begin(int poll, struct talk *t, uint32_t number, const struct sockaddr *to, socklen_t length)
{
    static const int sizes[] = {0, 88, 536, 1000, 1220, 1440}, buffers[] = {0, 4096, 65536, 1 << 20};
    int size = sizes[number % 6], buffer = buffers[number / 6 % 4];
    uint32_t noise = number * 2654435761u;

    memset(t, 0, sizeof(*t));
    t->header = (struct header){number, (uint16_t)(noise >> 8 & 0x7ff), (uint16_t)(noise % BYTES_MAX),
                                (uint8_t)(number / 24 % ENDINGS)};
    t->start_s = now_s();
    t->file = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (t->file < 0)
        die("socket");
    if (size)
        set(t->file, IPPROTO_TCP, TCP_MAXSEG, size);
    if (buffer)
        set(t->file, SOL_SOCKET, SO_RCVBUF, buffer);
    if (connect(t->file, to, length) != 0 && errno != EINPROGRESS) {
        if (errno == EADDRNOTAVAIL) {
            close(t->file);
            t->file = -1;
            return false;
        }
        give_up(t, "connect");
        return true;
    }
    watch(poll, EPOLL_CTL_ADD, t->file, EPOLLIN | EPOLLOUT, (uint64_t)(t - asking));
    return true;
}

/* Everything has come: end as this connection is to end. Its server may be the one to close. */
static void finish(struct talk *t)
{
    if (t->header.ending == CLIENT_RESETS) {
        struct linger now = {.l_onoff = 1};

        if (setsockopt(t->file, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) != 0)
            die("setsockopt");
    }
    close(t->file);
    t->file = -1;
    finished++;
}

static void go_on(int poll, struct talk *t)
{
    uint32_t length = (uint32_t)t->header.up + HEADER_BYTES;
    uint8_t bytes[4096];
    ssize_t n;

    if (t->sent < length) {
        int64_t sent = send_stream(t->file, &t->header, t->sent, length, true);

        if (sent < 0) {
            give_up(t, "send");
            return;
        }
        t->sent = (uint32_t)sent;
        if (t->sent == length) {
            if (t->header.ending == CLIENT_HALF_CLOSES)
                shutdown(t->file, SHUT_WR);
            watch(poll, EPOLL_CTL_MOD, t->file, EPOLLIN, (uint64_t)(t - asking));
        }
    }
    while ((n = recv(t->file, bytes, sizeof(bytes), 0)) > 0) {
        for (ssize_t i = 0; i < n; i++, t->received++)
            if (t->received >= t->header.down || bytes[i] != byte_of(t->header.number, t->received, false)) {
                errno = EBADMSG;
                give_up(t, "answer");
                return;
            }
    }
    if (n < 0 && errno != EAGAIN)
        give_up(t, "receive");
    else if (t->received == t->header.down && t->sent == length && (n == 0 || t->header.ending != SERVER_CLOSES))
        finish(t);
    else if (n == 0) {
        errno = EPIPE;
        give_up(t, "cut short");
    }
}

static void drop_late(uint32_t clients)
{
    time_t now = now_s();

    for (uint32_t i = 0; i < clients; i++)
        if (asking[i].file >= 0 && now - asking[i].start_s > PATIENCE_S) {
            errno = ETIMEDOUT;
            give_up(&asking[i], "stood still");
            late++;
        }
}

static void ask(const char *address, const char *port, uint32_t count, uint32_t clients)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = six.sin6_port};
    bool is_six = inet_pton(AF_INET6, address, &six.sin6_addr) == 1;
    const struct sockaddr *to = is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four;
    socklen_t length = is_six ? sizeof(six) : sizeof(four);
    struct epoll_event events[EVENTS];
    int poll = epoll_create1(0);
    time_t looked_s = now_s();
    uint32_t next = 0;

    if (!is_six && inet_pton(AF_INET, address, &four.sin_addr) != 1)
        die("an address is not one");
    if (clients == 0 || clients > CLIENTS_MAX || poll < 0)
        die("clients");
    for (uint32_t i = 0; i < clients; i++)
        asking[i].file = -1;
    while (finished + failed < count) {
        int n;

        for (uint32_t i = 0; i < clients && next < count; i++) {
            if (asking[i].file >= 0)
                continue;
            if (!begin(poll, &asking[i], next, to, length))
                break;
            next++;
        }
        n = epoll_wait(poll, events, EVENTS, 100);
        for (int i = 0; i < n; i++)
            if (asking[events[i].data.u64].file >= 0)
                go_on(poll, &asking[events[i].data.u64]);
        if (now_s() != looked_s) {
            looked_s = now_s();
            drop_late(clients);
        }
    }
    printf("{\"finished\": %llu, \"failed\": %llu, \"late\": %llu, \"why\": \"%s\"}\n", (unsigned long long)finished,
           (unsigned long long)failed, (unsigned long long)late, why);
}

int main(int count, char **words)
{
    signal(SIGPIPE, SIG_IGN);
    if (count == 3 && strcmp(words[1], "serve") == 0) {
        serve(words[2]);
    } else if (count == 6 && strcmp(words[1], "connect") == 0) {
        ask(words[2], words[3], (uint32_t)strtoul(words[4], NULL, 10), (uint32_t)strtoul(words[5], NULL, 10));
    } else {
        fprintf(stderr, "usage: short serve PORT | short connect ADDRESS PORT COUNT CLIENTS\n");
        return 2;
    }
    return 0;
}
