/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The programs on the NICs: XDP by a pinned link on the outside one, a tc filter on both.
 *
 * Owns: the link and its pin, the filters, the clsact qdiscs they hang on. Called by: bpfengine.pyx. Must not know: maps.
 *
 * The link is pinned under a name that never changes, so that any version finds its predecessor's: the program on it is
 * swapped, no packet passes in between. Filters (the kind that Linux 6.1 has) stay by themselves and are replaced in place.
 */
#ifndef LV_BPF_ATTACH_H
#define LV_BPF_ATTACH_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/base.h"

#define LV_LINK_PIN "gate_link"

enum {
    LV_TC_HANDLE = 1,
    LV_TC_PRIORITY = 0x4c76, /* "Lv": other filters may stand before or behind */
    LV_NETLINK_BYTES = 32768,
};

struct lv_attachment {
    int link_fd;     /* -1: none */
    int ifindex[2];  /* by side, 0: none */
    int xdp_generic; /* without the driver's help */
    u8 clsact_made;  /* bit by side: there was none before us */
};

static struct bpf_tc_hook lv_tc_hook(int ifindex, enum bpf_tc_attach_point point)
{
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = point);

    return hook;
}

static int lv_tc_has(int ifindex)
{
    struct bpf_tc_hook hook = lv_tc_hook(ifindex, BPF_TC_INGRESS);
    LIBBPF_OPTS(bpf_tc_opts, options, .handle = LV_TC_HANDLE, .priority = LV_TC_PRIORITY);

    return !bpf_tc_query(&hook, &options) && options.prog_id;
}

static void lv_tc_detach(int ifindex)
{
    struct bpf_tc_hook hook = lv_tc_hook(ifindex, BPF_TC_INGRESS);
    LIBBPF_OPTS(bpf_tc_opts, options, .handle = LV_TC_HANDLE, .priority = LV_TC_PRIORITY);

    if (lv_tc_has(ifindex))
        bpf_tc_detach(&hook, &options); /* its interface may go away meanwhile: as good */
}

static int lv_tc_attach(struct lv_attachment *a, int side, int program)
{
    struct bpf_tc_hook hook = lv_tc_hook(a->ifindex[side], BPF_TC_INGRESS);
    LIBBPF_OPTS(bpf_tc_opts, options, .handle = LV_TC_HANDLE, .priority = LV_TC_PRIORITY, .flags = BPF_TC_F_REPLACE);
    int error = bpf_tc_hook_create(&hook);

    if (!error)
        a->clsact_made |= (u8)(1 << side);
    else if (error != -EEXIST)
        return error;
    options.prog_fd = program;
    return bpf_tc_attach(&hook, &options);
}

/* Filters of a predecessor on interfaces that are no longer those of the configuration; 0, 0: on all. */
static void lv_tc_detach_others(int outside, int inside)
{
    struct if_nameindex *all = if_nameindex(), *one;

    for (one = all; one && one->if_index; one++)
        if ((int)one->if_index != outside && (int)one->if_index != inside)
            lv_tc_detach((int)one->if_index);
    if (all)
        if_freenameindex(all);
}

/* How many filters hang on one side of a clsact, whoever's they are; -1 if the kernel does not say. rtnetlink(7). */
static int lv_tc_filters(int ifindex, u32 parent)
{
    struct {
        struct nlmsghdr head;
        struct tcmsg body;
    } ask = {{sizeof(ask), RTM_GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP, 1, 0},
             {.tcm_family = AF_UNSPEC, .tcm_ifindex = ifindex, .tcm_parent = parent}};
    char answer[LV_NETLINK_BYTES];
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), found = 0, done = 0;

    if (fd < 0 || send(fd, &ask, sizeof(ask), 0) != sizeof(ask))
        found = -1;
    while (found >= 0 && !done) {
        ssize_t got = recv(fd, answer, sizeof(answer), 0);
        struct nlmsghdr *one = (struct nlmsghdr *)answer;

        if (got <= 0)
            found = -1;
        for (; got > 0 && NLMSG_OK(one, (size_t)got); one = NLMSG_NEXT(one, got)) {
            if (one->nlmsg_type == NLMSG_DONE || one->nlmsg_type == NLMSG_ERROR)
                done = 1;
            if (one->nlmsg_type == NLMSG_ERROR)
                found = -1;
            else if (one->nlmsg_type == RTM_NEWTFILTER)
                found++;
        }
    }
    if (fd >= 0)
        close(fd);
    return found;
}

/* Take a clsact away that nobody else uses. */
static void lv_clsact_remove(int ifindex)
{
    struct bpf_tc_hook hook = lv_tc_hook(ifindex, (enum bpf_tc_attach_point)(BPF_TC_INGRESS | BPF_TC_EGRESS));

    if (!lv_tc_filters(ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)) &&
        !lv_tc_filters(ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)))
        bpf_tc_hook_destroy(&hook);
}

/* The interface a link is on, 0 if that is gone. */
static int lv_link_ifindex(int fd, u32 *program_id)
{
    struct bpf_link_info info = {0};
    u32 size = sizeof(info);

    if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size))
        return 0;
    if (program_id)
        *program_id = info.prog_id;
    return (int)info.xdp.ifindex;
}

/* Ours or a predecessor's link, if it is on this interface. */
static int lv_xdp_take(struct lv_attachment *a, const char *pin, int program)
{
    if (a->link_fd < 0)
        a->link_fd = bpf_obj_get(pin);
    if (a->link_fd >= 0 && lv_link_ifindex(a->link_fd, 0) == a->ifindex[LV_OUTSIDE] &&
        !bpf_link_update(a->link_fd, program, 0))
        return 0;
    if (a->link_fd >= 0)
        close(a->link_fd); /* of an interface that is gone, or no longer ours */
    a->link_fd = -1;
    unlink(pin);
    return -ENODEV;
}

static int lv_xdp_attach(struct lv_attachment *a, const char *pin, int program)
{
    static const u32 modes[] = {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
    LIBBPF_OPTS(bpf_xdp_query_opts, found);
    u32 i, program_id = 0;
    int error = 0;

    if (lv_xdp_take(a, pin, program)) {
        for (i = 0; i < 2 && a->link_fd < 0; i++) {
            LIBBPF_OPTS(bpf_link_create_opts, options, .flags = modes[i]);

            a->link_fd = bpf_link_create(program, a->ifindex[LV_OUTSIDE], BPF_XDP, &options);
            if (error != -EBUSY) /* another's program; in the other mode it is another error */
                error = -errno;
        }
        if (a->link_fd < 0)
            return error;
    }
    if (bpf_obj_pin(a->link_fd, pin) && errno != EEXIST)
        return -errno;
    lv_link_ifindex(a->link_fd, &program_id);
    a->xdp_generic =
        !bpf_xdp_query(a->ifindex[LV_OUTSIDE], 0, &found) && found.skb_prog_id && found.skb_prog_id == program_id;
    return 0;
}

/* Are all three programs still where they were put? An interface that went away took its programs along. */
static int lv_attached(const struct lv_attachment *a, const char *pin)
{
    return a->ifindex[LV_OUTSIDE] && lv_link_ifindex(a->link_fd, 0) == a->ifindex[LV_OUTSIDE] && !access(pin, F_OK) &&
           lv_tc_has(a->ifindex[LV_OUTSIDE]) && lv_tc_has(a->ifindex[LV_INSIDE]);
}

#endif
