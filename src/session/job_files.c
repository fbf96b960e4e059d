#include "session/job_files.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/store.h"
#include "http/json.h"
#include "loop/child.h"
#include "loop/datafile.h"
#include "session/job.h"

#define COMMAND_MAX (16 * 1024 * 1024)
#define DROP_AT_ONCE 4
#define DROP_EVERY_MS 5
#define DIR_MODE 0700

static const char *const endings[] = {"request", "log", "index"};
#define ENDINGS (sizeof(endings) / sizeof(endings[0]))

static char *path_of(const struct cleat *core, const char *id, const char *ending)
{
    return mem_printf("%s/jobs/%s.%s", core->settings->state_dir, id, ending);
}

/* ---- commands ---- */

enum error_code job_files_put(struct cleat *core, const char *id, const char *command,
                              struct error *e)
{
    char *path = path_of(core, id, "request");
    datafile_write(path, 0, command, strlen(command), e);
    if (e->code == ERR_NONE && core->settings->durability == STORE_FULL)
        datafile_sync(path, e);
    if (e->code != ERR_NONE)
        datafile_remove(path);
    free(path);
    return e->code;
}

json_t *job_files_command(const struct session *s)
{
    char *path = path_of(s->core, s->id, "request");
    int64_t size = datafile_size(path);
    json_t *command = NULL;
    if (size > 0 && size <= COMMAND_MAX) {
        char *text = mem_alloc((size_t)size);
        if (datafile_read(path, 0, text, (size_t)size) == (size_t)size)
            command = js_parse_object(text, (size_t)size, NULL);
        free(text);
    }
    free(path);
    return command;
}

void job_files_drop_command(const struct session *s)
{
    char *path = path_of(s->core, s->id, "request");
    datafile_remove(path);
    free(path);
}

/* ---- removal ---- */

struct dropped {
    TAILQ_ENTRY(dropped) entry;
    char id[ID_SIZE];
};

static void remove_files(const struct cleat *core, const char *id)
{
    for (size_t i = 0; i < ENDINGS; i++) {
        char *path = path_of(core, id, endings[i]);
        datafile_remove(path);
        free(path);
    }
}

static void drop_some(void *arg)
{
    struct cleat *core = arg;
    struct dropped *d;
    for (int i = 0; i < DROP_AT_ONCE && (d = TAILQ_FIRST(&core->dropped_jobs)); i++) {
        remove_files(core, d->id);
        TAILQ_REMOVE(&core->dropped_jobs, d, entry);
        free(d);
    }
    if (!TAILQ_EMPTY(&core->dropped_jobs))
        timer_arm(&core->drop_jobs, DROP_EVERY_MS);
}

void job_files_drop(struct cleat *core, const char *id)
{
    struct dropped *d = mem_alloc(sizeof(*d));
    mem_copy_string(d->id, sizeof(d->id), id);
    TAILQ_INSERT_TAIL(&core->dropped_jobs, d, entry);
    if (!timer_armed(&core->drop_jobs))
        timer_arm(&core->drop_jobs, DROP_EVERY_MS);
}

/* ---- start and end ---- */

void job_files_init(struct cleat *core)
{
    TAILQ_INIT(&core->dropped_jobs);
    timer_init(&core->drop_jobs, core->loop, drop_some, core);
}

enum error_code job_files_open(struct cleat *core, struct error *e)
{
    char *path = mem_printf("%s/jobs", core->settings->state_dir);
    enum error_code code = dir_make(path, DIR_MODE, e);
    free(path);
    return code;
}

/* The journal may have been lost, and its sessions be adopted later: until then they are kept
 * as long as a closed session is. */
static void consider(void *arg, const char *name)
{
    struct cleat *core = arg;
    char id[ID_SIZE];
    mem_copy_string(id, sizeof(id), name);
    if (strlen(name) < ID_SIZE || name[ID_SIZE - 1] != '.' || !id_valid(id) ||
        core_find(core, id))
        return;
    if (id_time_ms(id) + core->settings->retention_s * 1000 < core_now(core))
        job_files_drop(core, id);
}

void job_files_sweep(struct cleat *core)
{
    char *path = mem_printf("%s/jobs", core->settings->state_dir);
    datafile_list(path, consider, core);
    free(path);
}

void job_files_close(struct cleat *core)
{
    struct dropped *d;
    timer_stop(&core->drop_jobs);
    while ((d = TAILQ_FIRST(&core->dropped_jobs))) {
        TAILQ_REMOVE(&core->dropped_jobs, d, entry);
        free(d); /* the next start finds its files */
    }
}
