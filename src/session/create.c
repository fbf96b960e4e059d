/* A request for a session: whether it can be taken, and the session that it makes or finds. */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "cleat.h"
#include "http/json.h"
#include "session/admission.h"
#include "session/call.h"
#include "session/config.h"
#include "session/context.h"
#include "session/create.h"
#include "session/drain.h"
#include "session/event.h"
#include "session/input.h"
#include "session/job_files.h"
#include "session/past.h"
#include "session/request.h"
#include "session/session.h"

/* What a job runs is on the disk before the journal knows of it. */
static enum error_code keep_command(struct cleat *core, const char *id,
                                    const struct create_request *r, struct error *e)
{
    char *text = r->command ? js_text(r->command) : NULL;
    enum error_code code = text ? job_files_put(core, id, text, e) : ERR_NONE;
    free(text);
    return code;
}

/* NULL and *e: what it needs cannot be kept. */
static struct session *make_session(struct cleat *core, const struct create_request *r,
                                    struct error *e)
{
    uint8_t random[10];
    char id[ID_SIZE];
    loop_random(core->loop, random, sizeof(random));
    id_make(id, core_now(core), random);
    past_new_session(core);
    if (keep_command(core, id, r, e) != ERR_NONE)
        return NULL;
    struct group *g = core_find_group(core, r->class_name);
    struct session *s = session_new(core, g, id, r->tenant, r->request_id ? r->request_id : id);
    session_fill(s, r);
    s->created = s->queued_at = core_now(core);
    session_enqueue(s);
    session_dirty(s);
    log_info("session.new", KV("session", s->id), KV("tenant", s->context.tenant),
             KV("request_id", s->request_id), KV("class", g->class->name));
    event_emit(s, "session.queued", KV("request_id", s->request_id),
               KV("class", g->class->name));
    return s;
}

static bool has_target_group(const struct group *g, const char *name)
{
    size_t count = *name ? g->balancer_ops->groups(g->balancer) : 0;
    for (size_t i = 0; i < count; i++)
        if (strcmp(g->balancer_ops->group_name(g->balancer, i), name) == 0)
            return true;
    return false;
}

/* Two classes on one target group count as one; a slot is a target group for one container. */
static bool are_together(const struct group *a, const struct group *b)
{
    if (a == b)
        return a->class->balancer != BALANCER_ALB || a->class->alb_mode != ALB_SLOT;
    for (size_t i = 0; i < a->balancer_ops->groups(a->balancer); i++)
        if (has_target_group(b, a->balancer_ops->group_name(a->balancer, i)))
            return true;
    return false;
}

static bool has_plain_class(const struct cleat *core)
{
    for (size_t i = 0; i < core->group_count; i++)
        if (core->groups[i].class->proof == PROOF_NONE)
            return true;
    return false;
}

/* Containers that cannot prove who they are share a target group only within one tenant,
 * also with containers that can: a request that was led astray would reach them. */
static enum error_code check_tenant(const struct cleat *core, const struct create_request *r,
                                    struct error *e)
{
    const struct group *g = core_find_group(core, r->class_name);
    bool plain = g->class->proof == PROOF_NONE;
    const struct session *s;
    if (!has_plain_class(core))
        return ERR_NONE;
    TAILQ_FOREACH (s, &core->open, part_entry) {
        if (s->warm || strcmp(s->context.tenant, r->tenant) == 0)
            continue;
        if ((plain || s->group->class->proof == PROOF_NONE) && are_together(g, s->group))
            return error_set(e, ERR_FORBIDDEN,
                             "class %s: containers that cannot prove who they are share a "
                             "target group only within one tenant, and another tenant has "
                             "sessions there",
                             r->class_name);
    }
    return ERR_NONE;
}

static enum error_code check_input(const struct cleat *core, const struct create_request *r,
                                   struct error *e)
{
    const struct class *class = config_class(core->config, r->class_name);
    return r->input ? input_allow(class, r->tenant, r->input, e) : ERR_NONE;
}

/* Whether another session can be taken. */
static enum error_code check_room(struct cleat *core, const struct create_request *r,
                                  struct error *e)
{
    if (drain_covers(core, r->tenant, e))
        return e->code;
    if (core->store_failing)
        return error_set(e, ERR_STORE, "the journal cannot be written: %s",
                         core->outage.error.message);
    return admission_check(core, r->tenant, r->user, core_find_group(core, r->class_name),
                           r->create_timeout_s + r->max_lifetime_s, r->no_queue, e);
}

/* The environment of an adopted session is not known. */
static bool asks_the_same(const struct session *s, const struct create_request *r)
{
    bool lost = s->env_lost || (s->job && session_is_over(s));
    char *without = lost ? request_without_env(r->parameters) : NULL;
    bool same = strcmp(s->parameters, without ? without : r->parameters) == 0;
    free(without);
    return same;
}

/* The session that its request id has, NULL: none. *e: why it is not given, or not made. */
static struct session *find(struct cleat *core, struct create_request *r, struct error *e)
{
    struct session *s = NULL;
    if (!context_inherit(core, r, e))
        return NULL;
    if (r->request_id)
        s = core_find_request(core, r->tenant, r->request_id);
    if (s && r->any_class)
        create_request_set(r, "class", s->class_name);
    if (s && s->state >= SESSION_CLOSING && !s->job)
        error_set(e, ERR_BLOCKED, "this request id had a session that was closed");
    else if (s && !asks_the_same(s, r))
        error_set(e, ERR_CONFLICT, "this request id has a session with other parameters");
    else if (!s && r->misfit.code != ERR_NONE)
        *e = r->misfit;
    else if (!s && context_may_begin(core, r, e) && check_input(core, r, e) == ERR_NONE &&
             check_tenant(core, r, e) == ERR_NONE)
        check_room(core, r, e);
    return s;
}

struct cleat_call *create_call(struct cleat *core, struct create_request *r,
                               cleat_done_fn *done, void *arg)
{
    struct error e = {0};
    struct cleat_call *call;
    struct session *s = find(core, r, &e);
    bool known = s != NULL;
    if (!known && e.code == ERR_NONE)
        s = make_session(core, r, &e);
    if (e.code != ERR_NONE)
        call = call_refuse(core, &e, known, NULL, done, arg);
    else
        call = call_created(s, !known, done, arg);
    create_request_release(r);
    return call;
}

struct cleat_call *cleat_create(struct cleat *core, const char *tenant, const char *request,
                                size_t len, cleat_done_fn *done, void *arg)
{
    struct create_request r;
    struct error e = {0};
    if (!create_request_parse(core->config, tenant, request, len, &r, &e))
        return call_refuse(core, &e, false, NULL, done, arg);
    if (r.job) {
        error_set(&e, ERR_INVALID, "job: jobs are made by a call of their own");
        create_request_release(&r);
        return call_refuse(core, &e, false, NULL, done, arg);
    }
    return create_call(core, &r, done, arg);
}
