/* The simulated container: /file-sync fetches the input from the artifact store. */
#include <jansson.h>
#include <string.h>
#include "books.h"
#include "container.h"
#include "sim_stage.h"
#include "world.h"

struct sync {
    struct container *container;
    struct sim_request *request;
};

static bool names(const json_t *body, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(body, key));
    return value && strstr(value, text);
}

static bool is_own(const struct container *c, const struct sim_request *r)
{
    return strstr(r->body, world_printf("%s/input", c->session)) != NULL;
}

/* Who proves nothing fetches what he is told to, also what is meant for another one. */
static bool is_right(const struct container *c, const struct sim_request *r)
{
    json_t *body = json_loads(r->body, 0, NULL);
    bool right = names(body, "action", "download") && names(body, "local_path", "/") &&
                 names(body, "s3_key_prefix", "/input") && (c->plain || is_own(c, r));
    json_decref(body);
    return right;
}

static void sync_due(void *arg)
{
    struct sync *s = arg;
    struct container *c = s->container;
    bool own = is_own(c, s->request);
    unsigned there = stage_files_in_store(books_identity(s->request));
    if (!c->alive) {
        s->request->answered(s->request, answer_new(0, ""));
        return;
    }
    if (world_fault(world.faults.sync_fails)) {
        executor_answer(c, s->request, 200,
                        "{\"status\":\"error\",\"error\":\"slow down\",\"files_count\":0}");
        return;
    }
    bool cut = there > 0 && world_fault(world.faults.sync_short);
    if (cut)
        there--; /* as plain containers do */
    if (own)
        c->synced = !cut;
    if (own && world.sabotage != SABOTAGE_LOST_INPUT && c->inputs < there)
        c->inputs = there; /* what an earlier request fetched stays */
    world_log("container %u has %u files of %s input", c->index, there,
              own ? "its" : "another's");
    executor_answer(c, s->request, 200,
                    world_printf("{\"status\":\"success\",\"files_count\":%u}", there));
}

void executor_sync(struct container *c, struct sim_request *r)
{
    struct sync *s = world_alloc(sizeof *s);
    *s = (struct sync){c, r};
    if (!is_right(c, r)) {
        world_violate("SIM", "container %u is to fetch %s", c->index, r->body);
        return;
    }
    bool slow = world_fault(world.faults.sync_slow);
    world_at(slow ? world_pick(1000, 90000) : world_pick(1, 300), sync_due, s);
}
