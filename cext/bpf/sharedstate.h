/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * State that the data plane in user space and the programs share by memory: half-open entries, learned options, keys,
 * services, lists of sources.
 *
 * Owns: making both sides use one copy, or keeping two copies equal. Called by: bpfengine.pyx. Must not know: libbpf.
 */
#ifndef LV_BPF_SHAREDSTATE_H
#define LV_BPF_SHAREDSTATE_H

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../core/engine.h"
#include "maps.h"

/* The worker uses the maps' memory instead of its own. What it had is freed with the data plane. */
static void lv_shared_adopt(struct lv_worker *w, struct lv_half *half, struct lv_half_tags *tags, u32 sets_mask,
                            u64 seed, struct lv_learned *learned)
{
    w->half.entry = half;
    w->half.tags = tags;
    w->half.sets_mask = sets_mask;
    w->half.seed = seed;
    w->half.cursor = 0;
    w->half_stays = 1;
    w->ctx->learning.entry = learned;
}

/* The guards of the services go on where the programs see them. A predecessor's are of other numbers. */
static void lv_shared_guards(struct lv_worker *w, void *map)
{
    __builtin_memcpy(map, w->ctx->guard, LV_SERVICES_MAX * sizeof(struct lv_guard));
    w->ctx->guard = map;
}

static size_t lv_shared_guards_bytes(void)
{
    return LV_SERVICES_MAX * sizeof(struct lv_guard);
}

/* The counts of sources are where the programs see them: a predecessor's go on. */
static void lv_shared_sources(struct lv_worker *w, void *map, u32 sets_mask, const struct lv_sipkey *key)
{
    w->ctx->sources.entry = map;
    w->ctx->sources.sets_mask = sets_mask;
    w->ctx->sources.key = *key;
}

/* Cookies were counted where they were made, in the kernel; here every key may have some out. */
static void lv_shared_keys_out(struct lv_worker *w)
{
    w->keys.slot[0].issued = w->keys.slot[1].issued = 1;
}

/* At the start: what is out may be a predecessor's. */
static void lv_shared_keys_take_all(struct lv_worker *w, void *map)
{
    struct lv_cookie_keys *to = map;

    lv_shared_keys_out(w);
    *to = w->keys;
}

/* After the worker's clock: a new key, or one that is no longer valid. */
static void lv_shared_keys_follow(struct lv_worker *w, void *map)
{
    struct lv_cookie_keys *to = map;
    u32 before = to->slot[to->current & 1].epoch, i;

    for (i = 0; i < 2; i++) {
        const struct lv_cookie_key *k = &w->keys.slot[i];

        if (to->slot[i].epoch == k->epoch && to->slot[i].valid == k->valid)
            continue;
        __atomic_store_n(&to->slot[i].valid, 0, __ATOMIC_SEQ_CST);
        to->slot[i].key = k->key;
        to->slot[i].epoch = k->epoch;
        to->slot[i].since_ms = k->since_ms;
        to->slot[i].issued = (u64)lv_cookie_jumped(before, k->epoch);
        __atomic_store_n(&to->slot[i].valid, k->valid, __ATOMIC_SEQ_CST);
    }
    __atomic_store_n(&to->current, w->keys.current, __ATOMIC_SEQ_CST);
    lv_shared_keys_out(w);
}

/* Wait until no program holds the table that was in use before the last swap: they run in RCU read-side sections, and
 * MEMBARRIER_CMD_GLOBAL waits for a grace period. A kernel with nohz_full refuses it: a program runs for microseconds. */
static void lv_shared_let_go(void)
{
    const struct timespec instead = {0, 20000000};

    if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
        nanosleep(&instead, 0);
}

/* Copy the services into one of the two tables in the map; returns whether there is one with `protect: auto`. */
static int lv_shared_services(const struct lv_worker *w, void *map, u32 which)
{
    const struct lv_services *from = __atomic_load_n(&w->ctx->services, __ATOMIC_ACQUIRE);
    struct lv_services_flat *to = (struct lv_services_flat *)map + which;

    to->intervals = LV_MIN(from->intervals, (u32)LV_INTERVALS_MAX);
    to->rules = LV_MIN(from->rules, (u32)LV_RULES_MAX);
    to->search_step = from->search_step;
    to->exact_sets = LV_MIN(from->exact_sets, (u32)LV_EXACT_SETS_MAX);
    to->has_excepted = from->has_excepted;
    to->has_limits = from->has_limits;
    to->has_logs = from->has_logs;
    __builtin_memcpy(to->exact, from->exact, to->exact_sets * sizeof(to->exact[0]));
    __builtin_memcpy(to->interval, from->interval, to->intervals * sizeof(to->interval[0]));
    __builtin_memcpy(to->rule, from->rule, to->rules * sizeof(to->rule[0]));
    __builtin_memcpy(to->service, from->service, sizeof(to->service));
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return from->has_watched != 0;
}

static int lv_shared_has_logs(const struct lv_worker *w)
{
    return __atomic_load_n(&w->ctx->services, __ATOMIC_ACQUIRE)->has_logs != 0;
}

/* Copy the lists of sources into one of the two tables in the map; returns the number of their spans. */
static u32 lv_shared_lists(const struct lv_worker *w, void *map, u32 which)
{
    const struct lv_lists *from = __atomic_load_n(&w->ctx->lists, __ATOMIC_ACQUIRE);
    struct lv_lists *to = (struct lv_lists *)map + which;

    to->count = LV_MIN(from->count, (u32)LV_LISTED_MAX);
    to->search_step = from->search_step;
    __builtin_memcpy(to->touched, from->touched, sizeof(to->touched));
    __builtin_memcpy(to->span, from->span, to->count * sizeof(to->span[0]));
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return to->count;
}

static size_t lv_shared_lists_bytes(void)
{
    return sizeof(struct lv_lists);
}

static u32 lv_shared_offered_window(const struct lv_worker *w)
{
    return w->ctx->config.offered_window;
}

static u32 lv_shared_ts_offset(const struct lv_worker *w)
{
    return w->ctx->config.ts_offset;
}

static size_t lv_shared_services_bytes(void)
{
    return sizeof(struct lv_services_flat);
}

static size_t lv_shared_keys_bytes(void)
{
    return sizeof(struct lv_cookie_keys);
}

#endif
