/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Integer types, unaligned big-endian access and inlining, for code that is compiled both for user space and for BPF.
 *
 * Owns: nothing but vocabulary. Used by: every header of core/. Must not know: what a packet is.
 * Convention of core/: values in structures are in host byte order unless a name ends in _be; lengths are bytes;
 * times are milliseconds of CLOCK_MONOTONIC in 32 bits and are compared by difference.
 */
#ifndef LV_BASE_H
#define LV_BASE_H

#ifdef __bpf__
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
#else
#include <stdint.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
#endif

#define LV_INLINE static inline __attribute__((always_inline, unused))
/* What is long and asked for in many places: one copy of it in user space. The BPF verifier wants it inlined. */
#ifdef __bpf__
#define LV_SHARED LV_INLINE
#else
#define LV_SHARED static __attribute__((noinline, unused))
#endif
#define LV_LIKELY(x) __builtin_expect(!!(x), 1)
#define LV_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define LV_MIN(a, b) ((a) < (b) ? (a) : (b))
#define LV_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Bytes of memory as one number, wherever they stand and whatever they were written as. */
typedef u16 __attribute__((may_alias)) lv_any16;
typedef u32 __attribute__((may_alias)) lv_any32;
typedef u64 __attribute__((may_alias)) lv_any64;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define lv_be16(x) __builtin_bswap16(x)
#define lv_be32(x) __builtin_bswap32(x)
#define lv_le64(x) (x)
#else
#define lv_be16(x) (x)
#define lv_be32(x) (x)
#define lv_le64(x) __builtin_bswap64(x)
#endif

#define lv_zero(dst, n) __builtin_memset((dst), 0, (n))

/* Copies are of constant sizes only, so that no call is made: BPF has no libc. Its compiler believes that memory can be
 * read at an odd address byte by byte only, which the verifier does not ask for where the processor can do better (the
 * stack excepted); compilers for user space know that themselves. */
#ifdef __bpf__
LV_INLINE u16 lv_load16(const void *p)
{
    return *(const lv_any16 *)p;
}

LV_INLINE u32 lv_load32(const void *p)
{
    return *(const lv_any32 *)p;
}

LV_INLINE u64 lv_load64(const void *p)
{
    return *(const lv_any64 *)p;
}

LV_INLINE void lv_store16(void *p, u16 v)
{
    *(lv_any16 *)p = v;
}

LV_INLINE void lv_store32(void *p, u32 v)
{
    *(lv_any32 *)p = v;
}

LV_INLINE void lv_copy(void *dst, const void *src, u32 n)
{
    u8 *d = dst;
    const u8 *s = src;
    u32 at = 0;

#pragma clang loop unroll(full)
    for (; at + 8 <= n; at += 8)
        *(lv_any64 *)(d + at) = lv_load64(s + at);
    if (n - at >= 4) {
        lv_store32(d + at, lv_load32(s + at));
        at += 4;
    }
    if (n - at >= 2) {
        lv_store16(d + at, lv_load16(s + at));
        at += 2;
    }
    if (n - at)
        d[at] = s[at];
}
#else
#define lv_copy(dst, src, n) __builtin_memcpy((dst), (src), (n))

LV_INLINE u16 lv_load16(const void *p)
{
    u16 v;

    lv_copy(&v, p, 2);
    return v;
}

LV_INLINE u32 lv_load32(const void *p)
{
    u32 v;

    lv_copy(&v, p, 4);
    return v;
}

LV_INLINE u64 lv_load64(const void *p)
{
    u64 v;

    lv_copy(&v, p, 8);
    return v;
}

LV_INLINE void lv_store16(void *p, u16 v)
{
    lv_copy(p, &v, 2);
}

LV_INLINE void lv_store32(void *p, u32 v)
{
    lv_copy(p, &v, 4);
}
#endif

LV_INLINE u16 lv_get16(const u8 *p)
{
    return lv_be16(lv_load16(p));
}

LV_INLINE u32 lv_get32(const u8 *p)
{
    return lv_be32(lv_load32(p));
}

LV_INLINE u64 lv_get64le(const u8 *p)
{
    return lv_le64(lv_load64(p));
}

LV_INLINE void lv_put16(u8 *p, u16 v)
{
    lv_store16(p, lv_be16(v));
}

LV_INLINE void lv_put32(u8 *p, u32 v)
{
    lv_store32(p, lv_be32(v));
}

/* For what one thread writes and others read without a lock. BPF has no acquire loads before Linux 6.15: there x86 keeps
 * loads in order by itself, and the compiler must not move them. */
LV_INLINE u32 lv_load_acquire(const u32 *p)
{
#ifdef __bpf__
    u32 v = *(volatile const u32 *)p;

    __asm__ volatile("" ::: "memory");
    return v;
#else
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
#endif
}

LV_INLINE void lv_read_fence(void)
{
#ifdef __bpf__
    __asm__ volatile("" ::: "memory");
#else
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
}

/* Sequence numbers and 32-bit clocks wrap: RFC 9293 section 3.4. */
LV_INLINE int lv_before(u32 a, u32 b)
{
    return (s32)(a - b) < 0;
}

LV_INLINE int lv_after(u32 a, u32 b)
{
    return (s32)(a - b) > 0;
}

/* lo <= x <= hi in sequence space. */
LV_INLINE int lv_within(u32 x, u32 lo, u32 hi)
{
    return x - lo <= hi - lo;
}

/* The BPF verifier follows registers, and the compiler knows more than it: a value that is compared and then used must be
 * the same register. This keeps the compiler from using another one. */
#ifdef __bpf__
#define LV_OPAQUE(x) __asm__ volatile("" : "+r"(x))
#else
#define LV_OPAQUE(x) ((void)(x))
#endif

/*
 * Call step(i, state) for i = 0 .. n-1 until it returns non-zero. For loops whose every turn has several outcomes: the BPF
 * verifier looks at the body of bpf_loop() once, but would look at each way through n turns of a plain loop.
 */
#ifdef __bpf__
#define lv_loop(n, step, state) bpf_loop((n), (step), (state), 0)
#define LV_STEP static long
#else
#define LV_STEP LV_INLINE long
#define lv_loop(n, step, state)                                                                                        \
    do {                                                                                                               \
        for (u32 lv_turn = 0; lv_turn < (n) && !step(lv_turn, (state)); lv_turn++)                                     \
            ;                                                                                                          \
    } while (0)
#endif

/* Before a loop whose body is too large to stand there many times: what is far apart is not in a near cache. */
#ifdef __clang__
#define LV_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define LV_ROLLED
#endif

/* The two sides of the box. A packet's side is the one it came in on. */
enum lv_side { LV_OUTSIDE = 0, LV_INSIDE = 1 };

/* What becomes of a packet that was handed in. */
enum lv_verdict {
    LV_DROP = 0,    /* consumed: dropped, or answered with packets of our own */
    LV_PASS = 1,    /* goes on as it came */
    LV_REWRITE = 2, /* goes on with the bytes that now stand in the buffer */
};

#endif
