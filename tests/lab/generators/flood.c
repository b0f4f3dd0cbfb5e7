/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * flood: a bounded flood of forged TCP packets, for the lab only.
 *
 * Owns packet making and sending: whole Ethernet frames by AF_PACKET, sendmmsg and
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
#include <errno.h>
#include <getopt.h>
#include <ifaddrs.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum limits {
	BATCH = 128,              /* most frames in one sendmmsg */
	BATCHES_PER_S = 1000,     /* at slower rates batches are smaller, so that packets come evenly */
	FRAME_BYTES = 128,        /* longest: 14 + 2 tags + 40 IPv6 + 40 TCP */
	TAGS_MAX = 2,
	KEEP_OUT_MAX = 8,
	REDRAWS_MAX = 64,         /* of a source that fell into a kept-out range */
	COUNT_MAX = 500000000,
	SECONDS_MAX = 600,
};

enum tcp_flag { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32 };

struct kind {
	const char *name;
	uint8_t flags;
	bool options;             /* MSS 1460, SACK permitted, timestamps, window scale 7 */
	bool pair;                /* each SYN is followed by an ACK of the same connection */
};

static const struct kind kinds[] = {
	{ "syn", SYN, false, false },
	{ "syn-options", SYN, true, false },
	{ "syn-ack", SYN | ACK, true, false },
	{ "ack", ACK, false, false },
	{ "rst", RST, false, false },
	{ "fin", FIN | ACK, false, false },
	{ "xmas", FIN | PSH | URG, false, false },
	{ "null", 0, false, false },
	{ "cookie", SYN, true, true },   /* the ACK guesses the cookie: a cookie is in flight */
};

struct range {
	uint8_t low[16], high[16];
};

struct plan {
	const struct kind *kind;
	const char *interface;
	uint64_t count, rate_pps;
	double seconds;
	uint8_t address_bytes;           /* 4 or 16 */
	uint8_t destination[16], source[16];
	unsigned int source_bits;        /* length of the source prefix */
	uint16_t port_low, port_high;
	uint8_t source_mac[6], destination_mac[6];
	uint16_t tag[TAGS_MAX];          /* VLAN ids, outermost first */
	unsigned int tags;
	struct range keep_out[KEEP_OUT_MAX];
	unsigned int keep_outs;
	uint64_t seed;
};

struct connection {
	uint8_t source[16];
	uint16_t source_port, destination_port;
	uint32_t sequence, acknowledgment;
};

static void die(const char *what)
{
	fprintf(stderr, "flood: %s\n", what);
	exit(2);
}

static void die_errno(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- the lab, and nothing else ---- */

static bool in_test_network(const uint8_t *address, unsigned int bytes)
{
	if (bytes == 4)
		return address[0] == 198 && (address[1] & 0xfe) == 18;
	return memcmp(address, "\x20\x01\x0d\xb8", 4) == 0;
}

static bool harmless_address(const struct sockaddr *any)
{
	if (any->sa_family == AF_INET) {
		const uint8_t *a = (const void *)&((const struct sockaddr_in *)any)->sin_addr;

		return a[0] == 127 || in_test_network(a, 4);
	}
	if (any->sa_family == AF_INET6) {
		const struct in6_addr *a = &((const struct sockaddr_in6 *)any)->sin6_addr;

		return IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_LINKLOCAL(a) ||
		       in_test_network(a->s6_addr, 16);
	}
	return true;  /* AF_PACKET and the like: no network address */
}

static void refuse_default_route(const char *table, const char *any_destination)
{
	char line[512], destination[64], second[64], interface[64];
	FILE *file = fopen(table, "r");

	if (file == NULL)
		return;  /* this family is not there at all */
	while (fgets(line, sizeof(line), file) != NULL) {
		if (strchr(any_destination, '/') == NULL) {
			/* /proc/net/route: Iface Destination Gateway ... */
			if (sscanf(line, "%63s %63s", interface, destination) != 2)
				continue;
			if (strcmp(destination, any_destination) == 0)
				die("there is a default route: this is not a namespace of the lab");
			continue;
		}
		/* /proc/net/ipv6_route: destination length ... interface; lo holds null routes */
		if (sscanf(line, "%63s %63s %*s %*s %*s %*s %*s %*s %*s %63s", destination, second,
			   interface) != 3)
			continue;
		if (strspn(destination, "0") == 32 && strcmp(second, "00") == 0 &&
		    strcmp(interface, "lo") != 0)
			die("there is an IPv6 default route: this is not a namespace of the lab");
	}
	fclose(file);
}

static void refuse_outside_the_lab(void)
{
	struct ifaddrs *all;
	bool test_address = false;

	if (getifaddrs(&all) != 0)
		die_errno("getifaddrs");
	for (struct ifaddrs *one = all; one != NULL; one = one->ifa_next) {
		if (one->ifa_addr == NULL)
			continue;
		if (!harmless_address(one->ifa_addr))
			die("there is an address that is no test address: not a namespace of the lab");
		test_address |= one->ifa_addr->sa_family == AF_INET && !(one->ifa_flags & IFF_LOOPBACK);
	}
	freeifaddrs(all);
	if (!test_address)
		die("there is no test address: this is not a namespace of the lab");
	refuse_default_route("/proc/net/route", "00000000");
	refuse_default_route("/proc/net/ipv6_route", "::/0");
}

/* ---- making packets ---- */

static uint64_t random_state;

static uint64_t draw(void)  /* splitmix64: forged packets need spread, not secrecy */
{
	uint64_t z = (random_state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static bool kept_out(const struct plan *plan, const uint8_t *address)
{
	for (unsigned int i = 0; i < plan->keep_outs; i++) {
		const struct range *range = &plan->keep_out[i];

		if (memcmp(address, range->low, plan->address_bytes) >= 0 &&
		    memcmp(address, range->high, plan->address_bytes) <= 0)
			return true;
	}
	return false;
}

static void draw_source(const struct plan *plan, uint8_t *address)
{
	for (int tries = 0; tries < REDRAWS_MAX; tries++) {
		uint64_t noise[2] = { draw(), draw() };

		memcpy(address, noise, plan->address_bytes);
		for (unsigned int bit = 0; bit < plan->source_bits; bit += 8) {
			unsigned int left = plan->source_bits - bit;
			uint8_t fixed = left >= 8 ? 0xff : (uint8_t)(0xff << (8 - left));
			uint8_t *byte = &address[bit / 8];

			*byte = (uint8_t)((plan->source[bit / 8] & fixed) | (*byte & ~fixed));
		}
		if (!kept_out(plan, address))
			return;
	}
	die("the source prefix lies in the kept-out ranges");
}

static void draw_connection(const struct plan *plan, struct connection *connection)
{
	uint64_t noise = draw();
	uint32_t ports = (uint32_t)(plan->port_high - plan->port_low) + 1;

	draw_source(plan, connection->source);
	connection->source_port = (uint16_t)(1024 + (noise & 0xffff) % 64512);
	connection->destination_port = (uint16_t)(plan->port_low + (noise >> 16 & 0xffff) % ports);
	connection->sequence = (uint32_t)(noise >> 32);
	connection->acknowledgment = (uint32_t)draw();
}

static uint32_t sum(const uint8_t *data, unsigned int bytes, uint32_t start)
{
	for (unsigned int i = 0; i + 1 < bytes; i += 2)
		start += (uint32_t)data[i] << 8 | data[i + 1];
	return start;
}

static uint16_t fold(uint32_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)~total;
}

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, (uint16_t)(value >> 16));
	put16(at + 2, (uint16_t)value);
}

static unsigned int put_ethernet(const struct plan *plan, uint8_t *frame)
{
	unsigned int at = 12;

	memcpy(frame, plan->destination_mac, 6);
	memcpy(frame + 6, plan->source_mac, 6);
	for (unsigned int i = 0; i < plan->tags; i++, at += 4) {
		put16(frame + at, plan->tags == 2 && i == 0 ? ETH_P_8021AD : ETH_P_8021Q);
		put16(frame + at + 2, plan->tag[i]);
	}
	put16(frame + at, plan->address_bytes == 4 ? ETH_P_IP : ETH_P_IPV6);
	return at + 2;
}

static unsigned int put_ip(const struct plan *plan, const struct connection *connection,
			   unsigned int tcp_bytes, uint8_t *ip)
{
	if (plan->address_bytes == 4) {
		memset(ip, 0, 20);
		ip[0] = 0x45;
		put16(ip + 2, (uint16_t)(20 + tcp_bytes));
		put16(ip + 4, (uint16_t)connection->sequence);
		ip[6] = 0x40;
		ip[8] = 64;
		ip[9] = IPPROTO_TCP;
		memcpy(ip + 12, connection->source, 4);
		memcpy(ip + 16, plan->destination, 4);
		put16(ip + 10, fold(sum(ip, 20, 0)));
		return 20;
	}
	memset(ip, 0, 40);
	ip[0] = 0x60;
	put16(ip + 4, (uint16_t)tcp_bytes);
	ip[6] = IPPROTO_TCP;
	ip[7] = 64;
	memcpy(ip + 8, connection->source, 16);
	memcpy(ip + 24, plan->destination, 16);
	return 40;
}

static void put_tcp(const struct plan *plan, const struct connection *connection, uint8_t flags,
		    unsigned int bytes, uint8_t *tcp)
{
	static const uint8_t options[20] = { 2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0,
					     0, 0, 0,	 0,    0, 0, 1, 3,  3, 7 };
	uint32_t pseudo = IPPROTO_TCP + bytes;

	put16(tcp, connection->source_port);
	put16(tcp + 2, connection->destination_port);
	put32(tcp + 4, connection->sequence);
	put32(tcp + 8, flags & ACK ? connection->acknowledgment : 0);
	tcp[12] = (uint8_t)(bytes / 4 << 4);
	tcp[13] = flags;
	put16(tcp + 14, 64240);
	put32(tcp + 16, 0);
	if (bytes == 40) {
		memcpy(tcp + 20, options, sizeof(options));
		put32(tcp + 28, connection->sequence ^ 0x5bd1e995);
	}
	pseudo = sum(connection->source, plan->address_bytes, pseudo);
	pseudo = sum(plan->destination, plan->address_bytes, pseudo);
	put16(tcp + 16, fold(sum(tcp, bytes, pseudo)));
}

static unsigned int put_frame(const struct plan *plan, const struct connection *connection,
			      uint8_t flags, bool options, uint8_t *frame)
{
	unsigned int tcp_bytes = options ? 40 : 20;
	unsigned int at = put_ethernet(plan, frame);

	at += put_ip(plan, connection, tcp_bytes, frame + at);
	put_tcp(plan, connection, flags, tcp_bytes, frame + at);
	return at + tcp_bytes;
}

/* The next packet of the flood; `made` counts from 0. */
static unsigned int next_frame(const struct plan *plan, uint64_t made, uint8_t *frame)
{
	static struct connection connection;
	const struct kind *kind = plan->kind;

	if (kind->pair && made % 2 == 1) {
		connection.sequence++;
		return put_frame(plan, &connection, ACK, false, frame);
	}
	draw_connection(plan, &connection);
	return put_frame(plan, &connection, kind->flags, kind->options, frame);
}

/* ---- sending ---- */

static int open_socket(const char *interface)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = 0 };
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
	struct mmsghdr messages[BATCH] = { 0 };
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
	printf("{\"sent\": %llu, \"refused\": %llu, \"seconds\": %.6f, \"pps\": %.0f}\n",
	       (unsigned long long)sent, (unsigned long long)refused, seconds,
	       seconds > 0 ? (double)sent / seconds : 0.0);
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
		fprintf(stderr, "flood: %s must be %llu-%llu, not '%s'\n", what,
			(unsigned long long)low, (unsigned long long)high, text);
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
	plan->source_bits = (unsigned int)parse_number(slash + 1, bytes == 4 ? 15 : 32,
						       bytes * 8u, "length of --source");
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
	plan->port_high = dash == NULL ? plan->port_low :
					 (uint16_t)parse_number(dash + 1, plan->port_low, 65535,
								"end of --port");
}

static void parse_mac(const char *text, uint8_t *mac)
{
	unsigned int part[6];

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", &part[0], &part[1], &part[2], &part[3],
		   &part[4], &part[5]) != 6)
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
		{ "kind", 1, NULL, 'k' },	 { "interface", 1, NULL, 'i' },
		{ "count", 1, NULL, 'c' },	 { "seconds", 1, NULL, 's' },
		{ "rate", 1, NULL, 'r' },	 { "source", 1, NULL, 'S' },
		{ "destination", 1, NULL, 'D' }, { "port", 1, NULL, 'p' },
		{ "source-mac", 1, NULL, 'm' },	 { "destination-mac", 1, NULL, 'M' },
		{ "keep-out", 1, NULL, 'x' },	 { "vlan", 1, NULL, 'v' },
		{ "seed", 1, NULL, 'n' },	 { NULL, 0, NULL, 0 },
	};
	unsigned int given = 0;  /* bit per mandatory option */
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
	if (!in_test_network(plan->destination, plan->address_bytes) ||
	    !in_test_network(plan->source, plan->address_bytes))
		die("source and destination must lie in 198.18.0.0/15 or 2001:db8::/32");
}

int main(int argc, char **argv)
{
	struct plan plan = { 0 };

	parse(&plan, argc, argv);
	refuse_outside_the_lab();
	random_state = plan.seed;
	flood(&plan);
	return 0;
}
