/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the fuzz targets share: reading choices from the input, buffers that end where the data ends, and checks.
 *
 * Used by: every target in this folder. Must not know: what is tested. A check that fails ends the process, and
 * libFuzzer keeps the input.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #what);                                       \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

struct input {
    const u8 *p, *end;
};

static inline u32 left(const struct input *in)
{
    return (u32)(in->end - in->p);
}

/* Integers from the input; zeros behind its end. */
static inline u8 take8(struct input *in)
{
    return in->p < in->end ? *in->p++ : 0;
}

static inline u16 take16(struct input *in)
{
    u16 high = take8(in);

    return (u16)(high << 8 | take8(in));
}

static inline u32 take32(struct input *in)
{
    u32 high = take16(in);

    return high << 16 | take16(in);
}

static inline u64 take64(struct input *in)
{
    u64 high = take32(in);

    return high << 32 | take32(in);
}

/* A copy that ends with its heap block, so that ASan sees a read of one byte too many. It begins at an odd address. */
struct exact {
    u8 *block, *data;
    u32 len;
};

static inline struct exact exact_copy(const u8 *data, u32 len)
{
    struct exact e = {malloc((size_t)len + 1), 0, len};

    CHECK(e.block);
    e.data = e.block + 1;
    if (len)
        memcpy(e.data, data, len);
    return e;
}

static inline struct exact exact_take(struct input *in, u32 len)
{
    struct exact e;

    len = LV_MIN(len, left(in));
    e = exact_copy(in->p, len);
    in->p += len;
    return e;
}

static inline void exact_free(struct exact *e)
{
    free(e->block);
}

#endif
