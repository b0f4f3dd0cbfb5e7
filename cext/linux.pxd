# cython: language_level=3
"""Declarations of the system calls and constants that the socket modules use. No code."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

ctypedef uint8_t u8
ctypedef uint16_t u16
ctypedef uint32_t u32
ctypedef uint64_t u64

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t

    struct sockaddr:
        pass

    struct iovec:
        void *iov_base
        size_t iov_len

    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        int msg_flags

    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len

    struct timespec:
        pass

    int socket(int domain, int kind, int protocol)
    int bind(int fd, const sockaddr *address, socklen_t length)
    int setsockopt(int fd, int level, int option, const void *value, socklen_t length)
    ssize_t send(int fd, const void *data, size_t length, int flags)
    ssize_t recv(int fd, void *data, size_t length, int flags)
    ssize_t sendmsg(int fd, const msghdr *message, int flags)
    int sendmmsg(int fd, mmsghdr *messages, unsigned int count, int flags)
    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, timespec *timeout)

    int AF_INET, AF_INET6, AF_NETLINK, AF_PACKET
    int SOCK_RAW, SOCK_CLOEXEC, SOCK_NONBLOCK
    int MSG_DONTWAIT, MSG_TRUNC
    int SOL_SOCKET, SO_MARK, SO_RCVBUF, SO_RCVBUFFORCE, SO_SNDBUF, SO_SNDBUFFORCE

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_IP, IPPROTO_IPV6, IPPROTO_RAW, IP_HDRINCL, IPV6_HDRINCL

    struct in_addr:
        pass

    struct in6_addr:
        pass

    struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr

    struct sockaddr_in6:
        uint16_t sin6_family
        uint16_t sin6_port
        uint32_t sin6_flowinfo
        in6_addr sin6_addr
        uint32_t sin6_scope_id

cdef extern from "<linux/if_packet.h>" nogil:
    struct sockaddr_ll:
        uint16_t sll_family
        uint16_t sll_protocol
        int sll_ifindex

    int SOL_PACKET, PACKET_QDISC_BYPASS

cdef extern from "<linux/netlink.h>" nogil:
    struct sockaddr_nl:
        uint16_t nl_family
        uint32_t nl_pid
        uint32_t nl_groups

    int NETLINK_NETFILTER, SOL_NETLINK, NETLINK_NO_ENOBUFS, NETLINK_CAP_ACK

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents

    short POLLIN
    int poll(pollfd *fds, unsigned long count, int timeout_ms)

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int initial, int flags)
    int EFD_CLOEXEC, EFD_NONBLOCK

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    ssize_t read(int fd, void *data, size_t length)
    ssize_t write(int fd, const void *data, size_t length)

cdef extern from "link.h" nogil:
    struct lv_link:
        char name[16]
        int ifindex
        u8 mac[6]
        u8 is_ethernet

    int lv_link_lookup(int fd, lv_link *link)
