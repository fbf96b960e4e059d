/* Which connection belongs to which session, and whether two hold one address. */
#include <stdio.h>
#include <string.h>
#include "cleat.h"
#include "session/attempt.h"
#include "session/context.h"
#include "session/document.h"
#include "session/session.h"

static json_t *isolation_of(const struct session *s, const struct attempt *a)
{
    const char *last[16];
    uint64_t total = 0;
    size_t count = a->pool ? pool_connections(a->pool, last, &total) : 0;
    json_t *connections = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(connections, json_string(last[i]));
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "session_id", s->id, "state",
                  session_state_names[s->state], "container", a->container.id, "address",
                  document_address(a), "connections", connections, "connections_total",
                  document_number(total), "probes", document_number(s->probes), "misroutes",
                  document_number(s->misroutes));
    json_object_set_new(
        o, "proof",
        json_string(s->group->class->proof == PROOF_REQUIRED ? "required" : "none"));
    json_object_set_new(o, "direct_path", json_boolean(a->direct));
    return o;
}

/* Counts every address that a second attempt holds. */
static json_t *isolation_walk(const struct cleat *core, const char *tenant, json_t *list)
{
    const struct session *s;
    const struct attempt *a;
    json_t *holders = json_object();
    json_int_t conflicts = 0;
    TAILQ_FOREACH (s, &core->open, part_entry)
        TAILQ_FOREACH (a, &s->attempts, entry) {
            char where[64];
            bool gone = a->died ||
                        a->cleanup.stop != STEP_PENDING; /* its address may be in use again */
            if (!a->launched || attempt_has_ended(a) || gone)
                continue;
            snprintf(where, sizeof(where), "%s:%u", a->container.ip,
                     (unsigned)a->container.port);
            conflicts += json_object_get(holders, where) != NULL;
            json_object_set_new(holders, where, json_true());
            if (context_sees(tenant, s))
                json_array_append_new(list, isolation_of(s, a));
        }
    json_decref(holders);
    return json_integer(conflicts);
}

char *cleat_isolation(struct cleat *core, const char *tenant)
{
    struct http_client_stats http;
    http_client_get_stats(core->client, &http);
    json_t *list = json_array();
    json_t *conflicts = isolation_walk(core, tenant, list);
    return document_take(json_pack("{s:o, s:o, s:o, s:i}", "sessions", list,
                                   "address_conflicts", conflicts, "shared_connections",
                                   document_number(http.shared_connections), "sessions_checked",
                                   (int)json_array_size(list)));
}
