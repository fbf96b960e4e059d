#include "ecs_class.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/ecs_fields.h"
#include "driver_help.h"

int ecs_class_open(void **state)
{
    struct class *c = class_new();
    class_set(c, "runtime", "ecs");
    class_set(c, "ecs_container", "main");
    *state = c;
    return 0;
}

int ecs_class_close(void **state)
{
    class_free(*state);
    return 0;
}

json_t *ecs_template_of(const struct class *c, const char *text)
{
    struct error e = {0};
    json_t *t = ecs_read_template(text, strlen(text), c, &e);
    if (t == NULL)
        fail_msg("%s", e.message);
    return t;
}

json_t *ecs_template_of_size(size_t len)
{
    char *value = mem_alloc(len + 1);
    memset(value, 'x', len);
    json_t *t = json_loads(MINIMAL, 0, NULL);
    json_object_set_new(t, "overrides",
                        json_pack("{s:[{s:s, s:[{s:s, s:s}]}]}", "containerOverrides", "name",
                                  "main", "environment", "name", "BIG", "value", value));
    free(value);
    return t;
}
