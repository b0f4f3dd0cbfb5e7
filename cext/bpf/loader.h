/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Loads the programs, pins the maps that must outlive the daemon, takes over from a predecessor.
 *
 * Owns: libbpf objects, the pinned maps. Called by: bpfengine.pyx. Must not know: what is in the maps.
 *
 * A map is pinned as NAME-LAYOUT (LV_BPF_MAPS in maps.h). One that a predecessor of another version left is taken up if
 * its layout is still the same, so that open connections outlive an upgrade; the others are made anew while the
 * predecessor's programs go on with theirs, until these programs take their place.
 */
#ifndef LV_BPF_LOADER_H
#define LV_BPF_LOADER_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "attach.h"
#include "maps.h"

enum {
    LV_LOADER_PATH = 256,
    LV_LOADER_LOG = 4096,
};

struct lv_loader {
    struct bpf_object *gate, *splice;
    u32 flows, half_sets, source_sets; /* as they are: those of a predecessor's maps, if there are any */
    u32 replaced;                      /* maps of a predecessor that were of another layout, and are made anew */
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

struct lv_map_layout {
    const char *name;
    int number, group;
};

static const struct lv_map_layout lv_map_layouts[] = {
#define LV_ONE(name, number, group) {#name, number, group},
    LV_BPF_MAPS(LV_ONE)
#undef LV_ONE
};

enum { LV_MAP_LAYOUTS = sizeof(lv_map_layouts) / sizeof(lv_map_layouts[0]) };

static const struct lv_map_layout *lv_layout_of(const char *name)
{
    u32 i;

    for (i = 0; i < LV_MAP_LAYOUTS; i++)
        if (!strcmp(lv_map_layouts[i].name, name))
            return &lv_map_layouts[i];
    return 0;
}

static int lv_loader_pin(const struct lv_loader *l, const struct lv_map_layout *layout, char *path)
{
    char name[LV_LOADER_PATH];

    snprintf(name, sizeof(name), "%s-%d", layout->name, layout->number);
    return lv_loader_path(l, name, path);
}

/* Look at a pinned map: 1 if there is one that can be asked. */
static int lv_loader_pinned(const char *path, struct bpf_map_info *info)
{
    u32 size = sizeof(*info);
    int fd = bpf_obj_get(path), found;

    memset(info, 0, sizeof(*info));
    if (fd < 0)
        return 0;
    found = !bpf_obj_get_info_by_fd(fd, info, &size);
    close(fd);
    return found;
}

static u32 lv_pinned_entries(const struct lv_loader *l, const char *name, u32 otherwise)
{
    struct bpf_map_info info;
    char path[LV_LOADER_PATH];

    return !lv_loader_pin(l, lv_layout_of(name), path) && lv_loader_pinned(path, &info) ? info.max_entries : otherwise;
}

/* What libbpf compares too, but it gives up where they differ. */
static int lv_loader_fits(const struct bpf_map *map, const struct bpf_map_info *info)
{
    return info->type == bpf_map__type(map) && info->key_size == bpf_map__key_size(map) &&
           info->value_size == bpf_map__value_size(map) && info->max_entries == bpf_map__max_entries(map) &&
           info->map_flags == bpf_map__map_flags(map);
}

/* Every shared map of an object gets its pin; maps of a predecessor that do not fit are left to its programs. */
static int lv_loader_pin_maps(struct lv_loader *l, struct bpf_object *object)
{
    const struct lv_map_layout *layout;
    char path[LV_LOADER_PATH];
    struct bpf_map_info info;
    u32 broken_groups = 0;
    struct bpf_map *map;
    int error;

    bpf_object__for_each_map(map, object)
    {
        const char *name = bpf_map__name(map);

        if (bpf_map__is_internal(map))
            continue;
        layout = lv_layout_of(name);
        if (!layout) {
            snprintf(l->log, sizeof(l->log), "%s is not in the list of maps in maps.h", name);
            return -EINVAL;
        }
        if (!layout->number)
            continue;
        if (!strcmp(name, "lv_flows") && (error = bpf_map__set_max_entries(map, l->flows)))
            return error;
        if ((!strcmp(name, "lv_halfopen") || !strcmp(name, "lv_half_tags")) &&
            (error = bpf_map__set_max_entries(map, l->half_sets)))
            return error;
        if (!strcmp(name, "lv_sources") && (error = bpf_map__set_max_entries(map, l->source_sets)))
            return error;
        if ((error = lv_loader_pin(l, layout, path)) || (error = bpf_map__set_pin_path(map, path)))
            return error;
        if (!lv_loader_pinned(path, &info)) {
            broken_groups |= 1u << layout->group; /* not there: made with its group */
        } else if (!lv_loader_fits(map, &info)) {
            broken_groups |= 1u << layout->group;
            unlink(path);
            l->replaced++;
        }
    }
    bpf_object__for_each_map(map, object)
    {
        layout = lv_layout_of(bpf_map__name(map));
        if (layout && layout->number && layout->group && broken_groups & 1u << layout->group &&
            !lv_loader_pin(l, layout, path) && !unlink(path))
            l->replaced++;
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
                          u32 half_sets, u32 source_sets)
{
    int error = 0;

    memset(l, 0, sizeof(*l));
    if (snprintf(l->folder, sizeof(l->folder), "%s", folder) >= (int)sizeof(l->folder))
        return -ENAMETOOLONG;
    lv_loader_speaking = l;
    libbpf_set_print(lv_loader_print);
    l->flows = lv_pinned_entries(l, "lv_flows", flows);
    l->half_sets = lv_pinned_entries(l, "lv_halfopen", half_sets);
    l->source_sets = lv_pinned_entries(l, "lv_sources", source_sets);
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

/* Pinned maps of other layouts: of use to nobody once the programs are replaced. */
static void lv_loader_tidy(struct lv_loader *l)
{
    DIR *folder = opendir(l->folder);
    char path[LV_LOADER_PATH];
    struct dirent *entry;
    struct bpf_map *map;

    while (folder && (entry = readdir(folder))) {
        int used = strncmp(entry->d_name, "lv_", 3) || lv_loader_path(l, entry->d_name, path);

        bpf_object__for_each_map(map, l->gate)
        {
            const char *pin = bpf_map__pin_path(map);

            used |= pin && !used && !strcmp(pin, path);
        }
        if (!used && !unlink(path))
            l->replaced++;
    }
    if (folder)
        closedir(folder);
}

/* The splice before the gate: who is handed over by the gate finds its flow translated. */
static int lv_loader_attach(struct lv_loader *l, struct lv_attachment *a, int outside, int inside)
{
    char pin[LV_LOADER_PATH];
    int error = lv_loader_path(l, LV_LINK_PIN, pin);

    lv_loader_speaking = l;
    a->ifindex[LV_OUTSIDE] = outside;
    a->ifindex[LV_INSIDE] = inside;
    if (!error)
        error = lv_tc_attach(a, LV_INSIDE, lv_loader_program(l->splice, "lv_splice_inside"));
    if (!error)
        error = lv_tc_attach(a, LV_OUTSIDE, lv_loader_program(l->splice, "lv_splice_outside"));
    if (!error)
        error = lv_xdp_attach(a, pin, lv_loader_program(l->gate, "lv_gate"));
    lv_loader_speaking = 0;
    if (error)
        return error;
    lv_tc_detach_others(outside, inside);
    lv_loader_tidy(l);
    return 0;
}

static int lv_loader_attached(const struct lv_loader *l, const struct lv_attachment *a)
{
    char pin[LV_LOADER_PATH];

    return !lv_loader_path(l, LV_LINK_PIN, pin) && lv_attached(a, pin);
}

/* Take everything off that any version put on: the programs, and with `forget` the maps. Nobody else may be at work. */
static void lv_loader_remove(const char *folder, int forget)
{
    char path[LV_LOADER_PATH];
    DIR *pins = opendir(folder);
    struct dirent *entry;
    int link = -1;

    libbpf_set_print(lv_loader_print); /* what is not there is not worth a word */
    if (snprintf(path, sizeof(path), "%s/" LV_LINK_PIN, folder) < (int)sizeof(path))
        link = bpf_obj_get(path);
    if (link >= 0) {
        bpf_link_detach(link); /* at once; without its last holder it would go a little later */
        close(link);
        unlink(path);
    }
    lv_tc_detach_others(0, 0);
    while (forget && pins && (entry = readdir(pins)))
        if (!strncmp(entry->d_name, "lv_", 3) &&
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) < (int)sizeof(path))
            unlink(path);
    if (pins)
        closedir(pins);
}

static void lv_loader_close(struct lv_loader *l)
{
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
