/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Loads the programs, pins what must outlive the daemon, attaches, takes over from a predecessor.
 *
 * Owns: libbpf objects, the pinned files, the XDP link and the tc filters. Called by: bpfengine.pyx. Must not know: what
 * is in the maps.
 *
 * Maps are pinned by name below one folder; libbpf takes up a pinned map of the same layout, and one of another layout is
 * a clear error (LV_BPF_LAYOUT is part of the folder's name). The XDP program hangs on a pinned link, which swaps programs
 * atomically; tc filters (the kind that Linux 6.1 has) stay by themselves and are replaced in place.
 */
#ifndef LV_BPF_LOADER_H
#define LV_BPF_LOADER_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "maps.h"

enum {
    LV_LOADER_PATH = 256,
    LV_LOADER_LOG = 4096,
    LV_TC_HANDLE = 1,
    LV_TC_PRIORITY = 0x4c76, /* "Lv": other filters may stand before or behind */
};

struct lv_loader {
    struct bpf_object *gate, *splice;
    int link_fd;
    int xdp_generic; /* attached without the driver's help */
    int ifindex[2];
    u32 flows, half_sets; /* as they are: those of a predecessor's maps, if there are any */
    char folder[LV_LOADER_PATH];
    char log[LV_LOADER_LOG]; /* libbpf's words about the last thing that failed */
};

static struct lv_loader *lv_loader_speaking;

/* Keep the end of what libbpf says: the beginning of a verifier log is of no use. */
static int lv_loader_print(enum libbpf_print_level level, const char *format, va_list args)
{
    char line[LV_LOADER_LOG / 2];
    size_t have, add;
    char *log;

    if (level == LIBBPF_DEBUG || !lv_loader_speaking)
        return 0;
    vsnprintf(line, sizeof(line), format, args);
    log = lv_loader_speaking->log;
    have = strlen(log);
    add = strlen(line);
    if (have + add >= LV_LOADER_LOG) {
        size_t drop = have + add - LV_LOADER_LOG + 1;

        memmove(log, log + drop, have - drop + 1);
        have -= drop;
    }
    memcpy(log + have, line, add + 1);
    return 0;
}

static int lv_loader_path(const struct lv_loader *l, const char *name, char *path)
{
    int n = snprintf(path, LV_LOADER_PATH, "%s/%s", l->folder, name);

    return n > 0 && n < LV_LOADER_PATH ? 0 : -ENAMETOOLONG;
}

static u32 lv_pinned_entries(const struct lv_loader *l, const char *name, u32 otherwise)
{
    struct bpf_map_info info = {0};
    u32 size = sizeof(info);
    char path[LV_LOADER_PATH];
    int fd;

    if (lv_loader_path(l, name, path))
        return otherwise;
    fd = bpf_obj_get(path);
    if (fd < 0)
        return otherwise;
    if (!bpf_obj_get_info_by_fd(fd, &info, &size))
        otherwise = info.max_entries;
    close(fd);
    return otherwise;
}

/* Every map of an object that is shared is pinned; what is only one program's own (scratch, .rodata) is not. */
static int lv_loader_pin_maps(struct lv_loader *l, struct bpf_object *object)
{
    char path[LV_LOADER_PATH];
    struct bpf_map *map;
    int error;

    bpf_object__for_each_map(map, object)
    {
        const char *name = bpf_map__name(map);

        if (bpf_map__is_internal(map) || !strcmp(name, "lv_scratch"))
            continue;
        if (!strcmp(name, "lv_flows") && (error = bpf_map__set_max_entries(map, l->flows)))
            return error;
        if (!strcmp(name, "lv_halfopen") && (error = bpf_map__set_max_entries(map, l->half_sets)))
            return error;
        if ((error = lv_loader_path(l, name, path)) || (error = bpf_map__set_pin_path(map, path)))
            return error;
    }
    return 0;
}

static struct bpf_object *lv_loader_load(struct lv_loader *l, const char *file, int *error)
{
    struct bpf_object *object = bpf_object__open_file(file, 0);

    if (!object) {
        *error = -errno;
        return 0;
    }
    *error = lv_loader_pin_maps(l, object);
    if (!*error)
        *error = bpf_object__load(object);
    if (!*error)
        return object;
    bpf_object__close(object);
    return 0;
}

/* Returns 0 or a negative errno; then `log` has libbpf's words. */
static int lv_loader_open(struct lv_loader *l, const char *folder, const char *gate, const char *splice, u32 flows,
                          u32 half_sets)
{
    int error = 0;

    memset(l, 0, sizeof(*l));
    l->link_fd = -1;
    if (snprintf(l->folder, sizeof(l->folder), "%s", folder) >= (int)sizeof(l->folder))
        return -ENAMETOOLONG;
    lv_loader_speaking = l;
    libbpf_set_print(lv_loader_print);
    l->flows = lv_pinned_entries(l, "lv_flows", flows);
    l->half_sets = lv_pinned_entries(l, "lv_halfopen", half_sets);
    l->gate = lv_loader_load(l, gate, &error);
    if (l->gate)
        l->splice = lv_loader_load(l, splice, &error);
    lv_loader_speaking = 0;
    return error;
}

static int lv_loader_map(const struct lv_loader *l, const char *name)
{
    return bpf_object__find_map_fd_by_name(l->gate, name);
}

static int lv_loader_program(struct bpf_object *object, const char *name)
{
    struct bpf_program *program = bpf_object__find_program_by_name(object, name);

    return program ? bpf_program__fd(program) : -ENOENT;
}

/* A predecessor's link, if it is on this interface: its program is replaced, no packet passes in between. */
static int lv_loader_take_link(struct lv_loader *l, const char *path, int program)
{
    struct bpf_link_info info = {0};
    u32 size = sizeof(info);
    int fd = bpf_obj_get(path);

    if (fd < 0)
        return -errno;
    if (!bpf_obj_get_info_by_fd(fd, &info, &size) && (int)info.xdp.ifindex == l->ifindex[LV_OUTSIDE] &&
        !bpf_link_update(fd, program, 0)) {
        l->link_fd = fd;
        return 0;
    }
    close(fd); /* of an interface that is gone */
    unlink(path);
    return -ENODEV;
}

static int lv_loader_attach_xdp(struct lv_loader *l)
{
    static const u32 modes[] = {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
    int program = lv_loader_program(l->gate, "lv_gate"), error = -EINVAL;
    char path[LV_LOADER_PATH];
    u32 i;

    if ((error = lv_loader_path(l, "gate_link", path)))
        return error;
    if (!lv_loader_take_link(l, path, program))
        return 0;
    for (i = 0; i < 2; i++) {
        LIBBPF_OPTS(bpf_link_create_opts, options, .flags = modes[i]);

        l->link_fd = bpf_link_create(program, l->ifindex[LV_OUTSIDE], BPF_XDP, &options);
        error = -errno;
        if (l->link_fd >= 0) {
            l->xdp_generic = modes[i] == XDP_FLAGS_SKB_MODE;
            return bpf_obj_pin(l->link_fd, path) ? -errno : 0;
        }
    }
    return error;
}

static int lv_loader_attach_tc(struct lv_loader *l, int side)
{
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = l->ifindex[side], .attach_point = BPF_TC_INGRESS);
    LIBBPF_OPTS(bpf_tc_opts, options, .handle = LV_TC_HANDLE, .priority = LV_TC_PRIORITY, .flags = BPF_TC_F_REPLACE);
    int error = bpf_tc_hook_create(&hook);

    if (error && error != -EEXIST)
        return error;
    options.prog_fd = lv_loader_program(l->splice, side == LV_OUTSIDE ? "lv_splice_outside" : "lv_splice_inside");
    return bpf_tc_attach(&hook, &options);
}

/* The splice before the gate: who is handed over by the gate finds its flow translated. */
static int lv_loader_attach(struct lv_loader *l, int outside, int inside)
{
    int error;

    lv_loader_speaking = l;
    l->ifindex[LV_OUTSIDE] = outside;
    l->ifindex[LV_INSIDE] = inside;
    error = lv_loader_attach_tc(l, LV_INSIDE);
    if (!error)
        error = lv_loader_attach_tc(l, LV_OUTSIDE);
    if (!error)
        error = lv_loader_attach_xdp(l);
    lv_loader_speaking = 0;
    return error;
}

static int lv_loader_has_tc(const struct lv_loader *l, int side)
{
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = l->ifindex[side], .attach_point = BPF_TC_INGRESS);
    LIBBPF_OPTS(bpf_tc_opts, options, .handle = LV_TC_HANDLE, .priority = LV_TC_PRIORITY);

    return !bpf_tc_query(&hook, &options) && options.prog_id;
}

/* Are all three programs still where they were put? An interface that went away took its programs along. */
static int lv_loader_attached(const struct lv_loader *l)
{
    struct bpf_link_info info = {0};
    u32 size = sizeof(info);

    return l->link_fd >= 0 && !bpf_obj_get_info_by_fd(l->link_fd, &info, &size) &&
           (int)info.xdp.ifindex == l->ifindex[LV_OUTSIDE] && lv_loader_has_tc(l, LV_OUTSIDE) &&
           lv_loader_has_tc(l, LV_INSIDE);
}

static void lv_loader_detach_tc(struct lv_loader *l, int side)
{
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = l->ifindex[side], .attach_point = BPF_TC_INGRESS);
    LIBBPF_OPTS(bpf_tc_opts, options, .handle = LV_TC_HANDLE, .priority = LV_TC_PRIORITY);

    if (l->ifindex[side])
        bpf_tc_detach(&hook, &options); /* gone already, or its interface: as good */
}

/* Programs off both interfaces. The maps stay pinned, so that a successor finds the flows, unless they are to be
 * forgotten: then nothing is left behind. */
static void lv_loader_detach(struct lv_loader *l, int forget)
{
    char path[LV_LOADER_PATH];
    struct bpf_map *map;

    if (!l->gate || !l->splice)
        return;
    if (!lv_loader_path(l, "gate_link", path))
        unlink(path);
    if (l->link_fd >= 0)
        close(l->link_fd);
    l->link_fd = -1;
    lv_loader_detach_tc(l, LV_OUTSIDE);
    lv_loader_detach_tc(l, LV_INSIDE);
    bpf_object__for_each_map(map, l->gate)
    {
        const char *pin = bpf_map__pin_path(map);

        if (forget && pin)
            unlink(pin);
    }
}

static void lv_loader_close(struct lv_loader *l)
{
    if (l->link_fd >= 0)
        close(l->link_fd);
    l->link_fd = -1;
    bpf_object__close(l->gate);
    bpf_object__close(l->splice);
    l->gate = l->splice = 0;
}

/* Memory of a map made with BPF_F_MMAPABLE; MAP_FAILED if the kernel refuses. */
static void *lv_loader_mmap(int fd, size_t bytes)
{
    return mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

#endif
