/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fuzz target: early data. Input: sizes of the pool, then appends, reads and releases of four flows.
 * What is read is what was appended, in order; no flow holds more than its share, nor all of them more than the pool;
 * what is released can be used again, all of it.
 */
#include "fuzz.h"

#include "core/hold.h"

enum { FLOWS = 4, BLOCKS_MAX = 6, BYTES_MAX = BLOCKS_MAX * LV_HOLD_DATA_BYTES };

static u32 blocks_of(u32 bytes)
{
    return (bytes + LV_HOLD_DATA_BYTES - 1) / LV_HOLD_DATA_BYTES;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static u8 stream[65536], said[FLOWS][BYTES_MAX], read[BYTES_MAX];
    struct input in = {data, data + size};
    u32 blocks = take8(&in) % (BLOCKS_MAX + 1), per_flow = take16(&in), ref[FLOWS] = {0}, held[FLOWS] = {0}, i;
    struct lv_hold_block *memory = malloc((blocks ? blocks : 1) * sizeof(*memory));
    struct lv_hold h;

    CHECK(memory);
    if (!stream[1])
        for (i = 0; i < sizeof(stream); i++)
            stream[i] = (u8)(i * 131 + (i >> 8));
    lv_hold_init(&h, memory, blocks, per_flow);
    for (u32 turn = 0; turn < 64 && left(&in); turn++) {
        u8 what = take8(&in);
        u32 f = what & 3, n = take16(&in), offset = take16(&in), taken, used = 0;

        switch (what >> 2 & 3) {
        case 0:
            lv_hold_release(&h, &ref[f]);
            CHECK(!ref[f]);
            held[f] = 0;
            break;
        case 1:
            taken = lv_hold_read(&h, ref[f], offset, read, LV_MIN(n, (u32)BYTES_MAX));
            CHECK(taken == (offset < held[f] ? LV_MIN(LV_MIN(n, (u32)BYTES_MAX), held[f] - offset) : 0));
            CHECK(!taken || !memcmp(read, said[f] + offset, taken));
            break;
        default:
            offset = LV_MIN(offset, (u32)sizeof(stream) - n);
            taken = lv_hold_append(&h, &ref[f], stream + offset, n);
            CHECK(taken <= n);
            /* Less than all is taken only where a limit is reached. */
            CHECK(taken == n || held[f] + taken == per_flow || h.blocks_used == blocks);
            memcpy(said[f] + held[f], stream + offset, taken);
            held[f] += taken;
        }
        for (i = 0; i < FLOWS; i++) {
            CHECK(lv_hold_bytes(&h, ref[i]) == held[i] && held[i] <= per_flow);
            used += held[i] ? blocks_of(held[i]) : !!ref[i];
        }
        CHECK(used == h.blocks_used && used <= blocks && !h.lock.taken);
    }
    for (i = 0; i < FLOWS; i++)
        lv_hold_release(&h, &ref[i]);
    for (i = 0; i < blocks; i++)
        CHECK(lv_hold_take(&h) != LV_NIL);
    CHECK(h.blocks_used == blocks && lv_hold_take(&h) == LV_NIL);
    free(memory);
    return 0;
}
