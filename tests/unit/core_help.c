#include "core_help.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <event2/event.h>
#include "base/mem.h"
#include "cleat.h"
#include "session/core.h"

static void drop_line(void *arg, int level, const char *line)
{
    (void)arg;
    (void)level;
    (void)line;
}

struct cleat *core_help_open(struct event_base *base, char dir[CORE_DIR_SIZE],
                             const char *const options[][3])
{
    char why[256] = "";
    struct cleat_config *config = cleat_config_new();
    cleat_set_log(drop_line, NULL, 0);
    strcpy(dir, "/tmp/cleat-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_true(cleat_config_set(config, NULL, "state_dir", dir, why, sizeof(why)));
    for (size_t i = 0; options[i][1]; i++)
        if (!cleat_config_set(config, options[i][0], options[i][1], options[i][2], why,
                              sizeof(why)))
            fail_msg("%s", why);
    struct cleat *core = cleat_new(base, config, why, sizeof(why));
    if (!core)
        fail_msg("%s", why);
    return core;
}

int core_help_close(struct cleat *core, struct event_base *base, const char *dir)
{
    cleat_free(core);
    event_base_free(base);
    char *command = mem_printf("rm -rf '%s'", dir);
    int rc = system(command);
    free(command);
    return rc;
}

struct core_held core_held[CORE_HELD_MAX];
unsigned core_held_count;
static const struct store_ops *real_store;
static struct store_ops holding_store;

static void hold(struct store *store, const struct store_change *changes, size_t count,
                 store_done_fn *done, void *arg)
{
    (void)store;
    (void)changes;
    (void)count;
    assert_true(core_held_count < CORE_HELD_MAX);
    core_held[core_held_count++] = (struct core_held){done, arg};
}

void core_help_hold(struct cleat *core)
{
    real_store = core->store_ops;
    holding_store = *real_store;
    holding_store.commit = hold;
    core_held_count = 0;
    core->store_ops = &holding_store;
}

void core_help_pass(struct cleat *core)
{
    core->store_ops = real_store;
}
