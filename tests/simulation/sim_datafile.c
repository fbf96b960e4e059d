/* src/loop/datafile.h in memory; the files survive the coordinator. */
#include "loop/datafile.h"
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include "base/mem.h"
#include "files.h"
#include "world.h"

struct datafile {
    const char *path;
    char *data;
    size_t len, room;
    bool removed;
    UT_hash_handle hh; /* iterates in the order of creation */
};

static struct datafile *datafiles;

void datafiles_begin(void)
{
    HASH_CLEAR(hh, datafiles);
}

static struct datafile *find(const char *path)
{
    struct datafile *f = NULL;
    HASH_FIND_STR(datafiles, path, f);
    return f && !f->removed ? f : NULL;
}

static struct datafile *make(const char *path)
{
    struct datafile *f = NULL;
    HASH_FIND_STR(datafiles, path, f);
    if (!f) {
        f = world_alloc(sizeof *f);
        f->path = world_strdup(path);
        HASH_ADD_KEYPTR(hh, datafiles, f->path, strlen(f->path), f);
    }
    if (f->removed)
        f->len = 0;
    f->removed = false;
    return f;
}

static void put(struct datafile *f, uint64_t at, const void *data, size_t len)
{
    size_t end = (size_t)at + len;
    if (end > f->room) {
        char *bigger = world_alloc(2 * end);
        if (f->len > 0)
            memcpy(bigger, f->data, f->len);
        world_free(f->data);
        f->data = bigger;
        f->room = 2 * end;
    }
    if (len > 0)
        memcpy(f->data + at, data, len);
    if (end > f->len)
        f->len = end;
}

/* A failed write may have left a part behind, and so may a crash. */
enum error_code datafile_write(const char *path, uint64_t at, const void *data, size_t len,
                               struct error *e)
{
    world_point("before bytes are written");
    if (world.frozen)
        return ERR_NONE;
    if (world_fault(world.faults.file_fails)) {
        put(make(path), at, data, len > 0 ? (size_t)world_pick(0, (int64_t)len) : 0);
        return error_set(e, ERR_STORE, "%s: no space left on device", path);
    }
    put(make(path), at, data, len > 0 ? (size_t)world_pick(0, (int64_t)len) : 0);
    world_point("when a part of some bytes was written");
    if (world.frozen)
        return ERR_NONE;
    put(make(path), at, data, len);
    world_point("after bytes were written");
    return ERR_NONE;
}

size_t datafile_read(const char *path, uint64_t at, void *out, size_t size)
{
    const struct datafile *f = find(path);
    if (!f || at >= f->len)
        return 0;
    size_t there = f->len - (size_t)at, len = there < size ? there : size;
    memcpy(out, f->data + at, len);
    return len;
}

int64_t datafile_size(const char *path)
{
    const struct datafile *f = find(path);
    return f ? (int64_t)f->len : -1;
}

void datafile_cut(const char *path, uint64_t size)
{
    struct datafile *f = find(path);
    if (f && !world.frozen && f->len > size)
        f->len = (size_t)size;
}

enum error_code datafile_sync(const char *path, struct error *e)
{
    (void)path, (void)e;
    return ERR_NONE;
}

void datafile_remove(const char *path)
{
    struct datafile *f = find(path);
    world_point("before a file is removed");
    if (f && !world.frozen)
        f->removed = true;
}

void datafile_list(const char *directory, datafile_each_fn *each, void *arg)
{
    size_t len = strlen(directory);
    struct datafile *f, *next;
    HASH_ITER (hh, datafiles, f, next)
        if (!f->removed && strncmp(f->path, directory, len) == 0 && f->path[len] == '/')
            each(arg, f->path + len + 1);
}

bool datafiles_under(const char *directory)
{
    size_t len = strlen(directory);
    struct datafile *f, *next;
    HASH_ITER (hh, datafiles, f, next)
        if (!f->removed && strncmp(f->path, directory, len) == 0)
            return true;
    return false;
}
