/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An interface by name: its index and MAC as they are now. An interface that is taken away and comes back has another
 * index (and perhaps another MAC), so both are looked up again, never kept for good.
 *
 * Owns: the two ioctls. Used by: rawsock.pyx, nfqueue.pyx. Must not know: what is sent there. Source: netdevice(7).
 */
#ifndef LV_LINK_H
#define LV_LINK_H

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>

#include "core/base.h"

struct lv_link {
    char name[IFNAMSIZ];
    int ifindex; /* 0 = there is no such interface now */
    u8 mac[6];   /* zeros for an interface without Ethernet header */
    u8 is_ethernet;
};

/* fd: any socket of the network namespace. Returns 0, or an errno (then ifindex is 0). */
LV_INLINE int lv_link_lookup(int fd, struct lv_link *link)
{
    struct ifreq request;
    int ifindex;

    link->ifindex = 0;
    memset(&request, 0, sizeof(request));
    memcpy(request.ifr_name, link->name, IFNAMSIZ);
    if (ioctl(fd, SIOCGIFINDEX, &request))
        return errno;
    ifindex = request.ifr_ifindex;
    if (ioctl(fd, SIOCGIFHWADDR, &request))
        return errno;
    link->is_ethernet = request.ifr_hwaddr.sa_family == ARPHRD_ETHER;
    if (link->is_ethernet)
        memcpy(link->mac, request.ifr_hwaddr.sa_data, sizeof(link->mac));
    else
        memset(link->mac, 0, sizeof(link->mac));
    link->ifindex = ifindex;
    return 0;
}

#endif
