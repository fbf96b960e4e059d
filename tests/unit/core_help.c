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
