/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * talk: short conversations over TCP, and how long they take.
 *
 *     talk serve ADDRESS PORT                                  answer every byte with one, until ended
 *     talk exchange ADDRESS PORT SECONDS                       one byte there and one back, over and over
 *     talk connect ADDRESS PORT SECONDS CLIENTS RATE SOURCES   a new connection each time: connect, one byte, one back
 *
 * Owns sockets and clocks. Started by conversation.py. `connect` keeps CLIENTS conversations going, or begins RATE of them
 * a second and never has more than CLIENTS; they come from SOURCES addresses from 198.18.1.1 on, so that ports do not run
 * out. Time is taken from connect() to the byte that came back. Prints one line of JSON; times are microseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum limits {
    CLIENTS_MAX = 1024,
    SAMPLES_MAX = 8000000,
    EVENTS = 256,
    BACKLOG = 4096,
    PATIENCE_NS = 3000000000u, /* then a conversation has failed */
    SOURCE_FIRST = 0xc6120101, /* 198.18.1.1 */
};

struct conversation {
    int file; /* -1: none */
    bool connected;
    uint64_t start_ns;
};

static uint32_t *samples_ns;
static uint64_t finished, failed;

static void die(const char *what)
{
    fprintf(stderr, "talk: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct sockaddr_in address_of(const char *text, const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

    if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
        die("an address is not one");
    return address;
}

static void set(int file, int level, int option)
{
    int one = 1;

    if (setsockopt(file, level, option, &one, sizeof(one)) != 0)
        die("setsockopt");
}

static void watch(int poll, int file, uint32_t events, uint64_t tag)
{
    struct epoll_event event = {.events = events, .data.u64 = tag};

    if (epoll_ctl(poll, EPOLL_CTL_ADD, file, &event) != 0)
        die("epoll_ctl");
}

static void keep(uint64_t ns)
{
    if (finished < SAMPLES_MAX)
        samples_ns[finished] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
    finished++;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void report(double seconds)
{
    uint64_t n = finished < SAMPLES_MAX ? finished : SAMPLES_MAX;

    qsort(samples_ns, n, sizeof(*samples_ns), by_size);
    printf("{\"finished\": %llu, \"failed\": %llu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
           (unsigned long long)finished, (unsigned long long)failed, seconds, n != 0 ? samples_ns[n / 2] / 1e3 : 0.0,
           n != 0 ? samples_ns[n * 99 / 100] / 1e3 : 0.0);
}

/* ---- the server ---- */

static void accept_all(int poll, int listener)
{
    for (;;) {
        int file = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

        if (file < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EMFILE))
            return;
        if (file < 0)
            die("accept");
        set(file, IPPROTO_TCP, TCP_NODELAY);
        watch(poll, file, EPOLLIN, (uint64_t)file);
    }
}

static void answer(int file)
{
    char bytes[64];
    ssize_t n = read(file, bytes, sizeof(bytes));

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || write(file, bytes, (size_t)n) != n) /* the other end is done, or gone */
        close(file);
}

static void serve(const char *text, const char *port)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
    struct sockaddr_in address = address_of(text, port);
    struct epoll_event events[EVENTS];

    if (listener < 0 || poll < 0)
        die("socket");
    set(listener, SOL_SOCKET, SO_REUSEADDR);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(listener, BACKLOG) != 0)
        die("listen");
    watch(poll, listener, EPOLLIN, (uint64_t)listener);
    for (;;) {
        int n = epoll_wait(poll, events, EVENTS, -1);

        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == (uint64_t)listener)
                accept_all(poll, listener);
            else
                answer((int)events[i].data.u64);
        }
    }
}

/* ---- one connection ---- */

static void exchange(const char *text, const char *port, double seconds)
{
    struct sockaddr_in address = address_of(text, port);
    int file = socket(AF_INET, SOCK_STREAM, 0);
    uint64_t start_ns, before_ns, end_ns;
    char byte = 'x';

    if (file < 0 || connect(file, (struct sockaddr *)&address, sizeof(address)) != 0)
        die("connect");
    set(file, IPPROTO_TCP, TCP_NODELAY);
    start_ns = before_ns = now_ns();
    end_ns = start_ns + (uint64_t)(seconds * 1e9);
    while (before_ns < end_ns) {
        uint64_t after_ns;

        if (write(file, &byte, 1) != 1 || read(file, &byte, 1) != 1)
            die("the connection broke");
        after_ns = now_ns();
        keep(after_ns - before_ns);
        before_ns = after_ns;
    }
    report((double)(before_ns - start_ns) / 1e9);
}

/* ---- many connections ---- */

static void begin(struct conversation *c, int poll, uint64_t number, const struct sockaddr_in *to, unsigned int sources)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    int file = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (file < 0)
        die("socket");
    from.sin_addr.s_addr = htonl(SOURCE_FIRST + (uint32_t)(number % sources));
    set(file, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
    set(file, IPPROTO_TCP, TCP_NODELAY);
    if (bind(file, (struct sockaddr *)&from, sizeof(from)) != 0)
        die("bind: are the source addresses there?");
    c->start_ns = now_ns();
    c->connected = false;
    c->file = file;
    if (connect(file, (const struct sockaddr *)to, sizeof(*to)) != 0 && errno != EINPROGRESS)
        die("connect");
    watch(poll, file, EPOLLOUT, (uint64_t)(uintptr_t)c);
}

static void end(struct conversation *c, bool well)
{
    if (well)
        keep(now_ns() - c->start_ns);
    else
        failed++;
    close(c->file);
    c->file = -1;
}

static void go_on(struct conversation *c, int poll)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    char byte = 'x';

    if (c->connected) {
        end(c, read(c->file, &byte, 1) == 1);
        return;
    }
    c->connected = true;
    if (write(c->file, &byte, 1) != 1) /* also says that connecting failed */
        end(c, false);
    else if (epoll_ctl(poll, EPOLL_CTL_MOD, c->file, &event) != 0)
        die("epoll_ctl");
}

static void connect_often(const char *text, const char *port, double seconds, unsigned int clients, double rate,
                          unsigned int sources)
{
    static struct conversation all[CLIENTS_MAX];
    struct sockaddr_in to = address_of(text, port);
    uint64_t start_ns = now_ns(), end_ns = start_ns + (uint64_t)(seconds * 1e9), begun = 0, now;
    struct epoll_event events[EVENTS];
    int poll = epoll_create1(0);
    unsigned int busy;

    if (clients < 1 || clients > CLIENTS_MAX || sources < 1)
        die("the number of clients or sources is not possible");
    for (unsigned int i = 0; i < clients; i++)
        all[i].file = -1;
    do {
        int n;

        now = now_ns();
        busy = 0;
        for (unsigned int i = 0; i < clients; i++) {
            bool due = now < end_ns && (rate <= 0 || (double)begun < (double)(now - start_ns) / 1e9 * rate);

            if (all[i].file >= 0 && now - all[i].start_ns > PATIENCE_NS)
                end(&all[i], false);
            if (all[i].file < 0 && due)
                begin(&all[i], poll, begun++, &to, sources);
            busy += all[i].file >= 0;
        }
        n = epoll_wait(poll, events, EVENTS, 1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++)
            go_on(events[i].data.ptr, poll);
    } while (now < end_ns || busy != 0);
    report(seconds);
}

int main(int argc, char **argv)
{
    samples_ns = malloc(sizeof(*samples_ns) * SAMPLES_MAX);
    if (samples_ns == NULL)
        die("memory");
    signal(SIGPIPE, SIG_IGN);
    if (argc == 4 && strcmp(argv[1], "serve") == 0)
        serve(argv[2], argv[3]);
    else if (argc == 5 && strcmp(argv[1], "exchange") == 0)
        exchange(argv[2], argv[3], atof(argv[4]));
    else if (argc == 8 && strcmp(argv[1], "connect") == 0)
        connect_often(argv[2], argv[3], atof(argv[4]), (unsigned int)atoi(argv[5]), atof(argv[6]),
                      (unsigned int)atoi(argv[7]));
    else {
        fputs("talk: serve ADDRESS PORT | exchange ... SECONDS | connect ... SECONDS CLIENTS RATE SOURCES\n", stderr);
        return 2;
    }
    return 0;
}
