#include "session/adopt.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "session/attempt.h"
#include "session/event.h"
#include "session/label.h"
#include "session/orphan.h"
#include "session/queue.h"
#include "session/request.h"
#include "session/session.h"

/* ---- the session ---- */

static char *least_parameters(const struct group *g, const char *tenant)
{
    json_t *o = json_pack("{s:s, s:s}", "class", g->class->name, "tenant", tenant);
    char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(o);
    return text;
}

static bool parse(const struct cleat *core, const char *text, struct create_request *r)
{
    struct error e;
    return text && create_request_parse(core->config, NULL, text, strlen(text), r, &e);
}

static bool is_free(const struct group *g, const struct label *l, struct error *e)
{
    const struct group *its = core_find_group(g->core, l->class_name);
    if (!*l->tenant)
        error_set(e, ERR_INVALID, "it was a warm container; whose it became is not known");
    else if (its && its != g)
        error_set(e, ERR_NOT_FOUND, "it belongs to class %s", l->class_name);
    else if (core_find_request(g->core, l->tenant, l->request_id))
        error_set(e, ERR_CONFLICT, "its request id has another session");
    else
        return true;
    return false;
}

/* What its label does not tell, or this configuration does not allow, lets it close only. */
static struct session *make_again(struct group *g, const char *id, const struct label *l,
                                  struct error *e)
{
    struct cleat *core = g->core;
    struct create_request r;
    const char *unfit = "";
    if (!core_find_group(core, l->class_name))
        unfit = "its class is not configured any more";
    else if (!l->parameters)
        unfit = "what it was asked for was too long for its label";
    else if (!parse(core, l->parameters, &r))
        unfit = "what it was asked for is not allowed any more";
    char *least = least_parameters(g, l->tenant);
    bool good = !*unfit || parse(core, least, &r);
    free(least);
    if (!good) {
        error_set(e, ERR_INVALID, "its label names what is not allowed");
        return NULL;
    }
    struct session *s = session_new(core, g, id, l->tenant, l->request_id);
    session_fill(s, &r);
    create_request_release(&r);
    s->created = l->created < core_now(core) ? l->created : core_now(core);
    s->env_lost = l->env;
    mem_copy_string(s->unfit, sizeof(s->unfit), unfit);
    return s;
}

/* ---- its attempt ---- */

static void admit(struct session *s)
{
    s->adopted = true;
    s->opened = s->used = core_now(s->core); /* its create_timeout_s begins again */
    places_take(s);
}

/* A target may be there, and so may artifacts. */
static void take(struct session *s, unsigned number, const struct container *c)
{
    struct group *g = s->group;
    struct attempt *a = attempt_new(s, number), *before = s->attempt;
    a->recovered = a->adopted = a->launched = a->registered = a->touched = true;
    a->container = *c;
    mem_copy_string(a->container.key, sizeof(a->container.key), a->key);
    s->attempt = a;
    s->attempts_used = number;
    if (before)
        attempt_go(before, ATTEMPT_ENDING);
    if (s->state < SESSION_OPENING)
        session_go(s, SESSION_OPENING);
    admit(s);
    session_dirty(s);
    attempt_go(a, ATTEMPT_STARTING);
    g->runtime_ops->adopt(g->runtime, c);
    log_warn("session.adopted", KV("session", s->id), KI("attempt", number),
             KV("container", c->id), KV("tenant", s->context.tenant),
             KV("request_id", s->request_id), KV("class", g->class->name),
             KV("cannot_serve", s->unfit));
    event_emit(s, "session.adopted", KI("attempt", number), KV("container", c->id),
               KV("cannot_serve", s->unfit));
}

/* The journal was restored from an older state when a later attempt is there. */
static bool is_newer(const struct session *s, const struct group *g, unsigned number,
                     struct error *e)
{
    if (s->state >= SESSION_CLOSING)
        error_set(e, ERR_CONFLICT, "its session is closing or closed");
    else if (number <= s->attempts_used)
        error_set(e, ERR_CONFLICT, "its attempt %u is not the newest of its session", number);
    else if (s->group != g)
        error_set(e, ERR_NOT_FOUND, "it belongs to class %s", s->class_name);
    else
        return true;
    return false;
}

struct session *label_adopt(struct group *g, const char *key, const struct container *c,
                            const char *text, struct error *e)
{
    struct cleat *core = g->core;
    char id[ID_SIZE];
    unsigned number;
    struct label l;
    *e = (struct error){0};
    if (!orphan_read_key(core, key, id, &number)) {
        error_set(e, ERR_INVALID, "its name is none that is given to containers");
        return NULL;
    }
    if (!*c->ip) {
        error_set(e, ERR_INVALID, "it has no address yet");
        return NULL;
    }
    if (!label_read(core, id, text, &l, e))
        return NULL;
    struct session *s = core_find(core, id);
    if (s ? !is_newer(s, g, number, e) : !is_free(g, &l, e))
        s = NULL;
    else if (!s)
        s = make_again(g, id, &l, e);
    label_release(&l);
    if (s)
        take(s, number, c);
    return s;
}

/* ---- afterwards ---- */

bool adopted_in_vain(struct attempt *a)
{
    struct session *s = a->session;
    struct error e;
    if (*s->unfit)
        error_set(&e, ERR_LOST, "the journal was lost, and with it the session: %s", s->unfit);
    else if (s->env_lost && !a->claimed)
        error_set(&e, ERR_LOST,
                  "the journal was lost before the container had its environment");
    else
        return false;
    session_close(s, error_name(ERR_LOST), &e);
    return true;
}

bool adopted_unasked(const struct session *s)
{
    return s->adopted && !(s->attempt && s->attempt->state == ATTEMPT_STAGING);
}

int64_t session_lifetime_end(const struct session *s)
{
    return (s->adopted ? s->created : s->ready) + s->max_lifetime_s * 1000;
}
