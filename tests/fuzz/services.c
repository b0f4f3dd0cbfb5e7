/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fuzz target: which service an address belongs to. Input: intervals as gaps and lengths, each with port rules, then
 * packets. The index and the binary searches say what a look at every interval and every rule says.
 */
#include "fuzz.h"

#include "core/service.h"

enum { INTERVALS = 40, RULES = 6, SETS = 4 };

static struct lv_services services;
static struct lv_exact_set exact_sets[SETS];

/* Numbers that are small, next to a 64-bit edge, or anything. */
static u64 take_number(struct input *in)
{
    u8 what = take8(in);

    if (what < 128)
        return what;
    return what < 192 ? take64(in) : ~(u64)(what - 192);
}

static void add(u64 *a, u64 n)
{
    a[1] += n;
    a[0] += a[1] < n;
}

/* Ascending intervals that do not overlap; returns their number. */
static u32 take_intervals(struct input *in, struct lv_interval *v, u32 wanted)
{
    u64 at[2] = {take_number(in), take_number(in)};
    u32 i;

    for (i = 0; i < wanted; i++) {
        u64 before[2] = {at[0], at[1]};

        v[i].lo[0] = at[0];
        v[i].lo[1] = at[1];
        add(at, take_number(in));
        v[i].hi[0] = at[0];
        v[i].hi[1] = at[1];
        v[i].first = i * RULES;
        v[i].count = take8(in) % (RULES + 1);
        v[i].has_vlans = 0;
        if (lv_less128(at, before))
            return i; /* behind the last address */
        add(at, 1 + take_number(in) % 1000);
        if (lv_less128(at, v[i].hi))
            return i + 1;
    }
    return i;
}

static int order(const void *a, const void *b)
{
    const struct lv_port_rule *x = a, *y = b;
    u32 p = lv_rule_order(x->vid, x->lo), q = lv_rule_order(y->vid, y->lo);

    return (p > q) - (p < q);
}

/* Make a run of rules as the control plane does: sorted, none over another one of the same VLAN. */
static void settle(struct lv_interval *v, struct lv_port_rule *run)
{
    u32 i, kept = 0;

    qsort(run, v->count, sizeof(*run), order);
    for (i = 0; i < v->count; i++) {
        if (kept && run[kept - 1].vid == run[i].vid && run[i].lo <= run[kept - 1].hi)
            continue;
        run[kept++] = run[i];
        v->has_vlans |= run[i].vid != LV_VID_ANY;
    }
    v->count = kept;
    for (v->step = 1; v->step * 2 <= kept; v->step *= 2)
        ;
    v->step = kept ? v->step : 0;
}

static u16 look_at_rules(const struct lv_interval *v, u16 vid, u16 port)
{
    for (u32 j = 0; j < v->count; j++) {
        const struct lv_port_rule *r = &services.rule[v->first + j];

        if (r->vid == vid && r->lo <= port && port <= r->hi)
            return r->service;
    }
    return LV_SERVICE_NONE;
}

static u16 look_at_all(const struct lv_interval *v, u32 n, const u64 *addr, u16 port, const struct lv_pkt *k)
{
    for (u32 i = 0; i < n; i++) {
        u16 found = LV_SERVICE_NONE;

        if (lv_less128(addr, v[i].lo) || lv_less128(v[i].hi, addr))
            continue;
        for (u32 tag = 0; tag < k->tags && !found; tag++)
            found = look_at_rules(&v[i], k->tci[tag] & 0xfff, port);
        return found ? found : look_at_rules(&v[i], LV_VID_ANY, port);
    }
    return LV_SERVICE_NONE;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct input in = {data, data + size};
    u32 wanted = take8(&in) % (INTERVALS + 1), n, i;
    struct lv_interval *v = malloc((wanted + 1) * sizeof(*v));
    struct lv_port_rule *rules = malloc((wanted * RULES + 1) * sizeof(*rules));

    CHECK(v && rules);
    for (i = 0; i < wanted * RULES; i++) {
        u8 what = take8(&in);

        rules[i].lo = (u16)(what & 0xf0);
        rules[i].hi = (u16)(rules[i].lo + (what & 0xf) * 4);
        rules[i].vid = what & 1 ? what & 6 : LV_VID_ANY;
        rules[i].service = (u16)(i + 1);
    }
    services.rule = rules;
    services.interval = v;
    n = take_intervals(&in, v, wanted);
    services.intervals = n;
    services.rules = n * RULES;
    for (services.search_step = 1; services.search_step * 2 <= n; services.search_step *= 2)
        ;
    if (!n)
        services.search_step = 0;
    for (i = 0; i < n; i++)
        settle(&v[i], &rules[v[i].first]);
    memset(exact_sets, 0, sizeof(exact_sets));
    services.exact = exact_sets;
    services.exact_sets = 1u << take8(&in) % 3; /* one or two overflow */
    lv_exact_fill(&services);
    do {
        struct lv_addr a;
        struct lv_pkt k;
        u64 addr[2];
        u8 near = take8(&in);
        u16 port = take8(&in);

        if (n && near < 128) { /* at the edge of an interval, and beside it */
            const struct lv_interval *e = &v[near / 2 % n];
            const u64 *edge = near & 1 ? e->hi : e->lo;

            addr[0] = edge[0];
            addr[1] = edge[1] + take8(&in) % 3 - 1;
        } else {
            addr[0] = take_number(&in);
            addr[1] = take_number(&in);
        }
        for (i = 0; i < 16; i++)
            a.b[i] = (u8)(addr[i / 8] >> (56 - 8 * (i % 8)));
        k.tags = take8(&in) % 3;
        k.tci[0] = take8(&in) & 7;
        k.tci[1] = take8(&in) & 7;
        CHECK(lv_service_find(&services, &a, port, &k) == look_at_all(v, n, addr, port, &k));
        (void)lv_service_of_address(&services, &a);
    } while (left(&in));
    free(rules);
    free(v);
    return 0;
}
