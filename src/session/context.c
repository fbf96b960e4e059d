#include "session/context.h"

#include <string.h>
#include "cleat.h"
#include "session/past.h"
#include "session/request.h"
#include "session/session.h"

#define PARENT_RETRY_MS 1000

bool context_sees(const char *tenant, const struct session *s)
{
    return !tenant || strcmp(tenant, s->context.tenant) == 0;
}

struct session *context_find(const struct cleat *core, const char *tenant, const char *id)
{
    struct session *s = core_find(core, id);
    return s && context_sees(tenant, s) ? s : NULL;
}

bool cleat_sees(const struct cleat *core, const char *tenant, const char *id)
{
    return context_find(core, tenant, id) != NULL;
}

/* ---- a create ---- */

/* A warm container is nobody's session: it has no tenant that a child could have. */
static struct session *find_parent(const struct cleat *core, const struct create_request *r)
{
    struct session *s = context_find(core, r->any_tenant ? NULL : r->tenant, r->parent);
    return s && !s->warm ? s : NULL;
}

static bool lacks_parent(struct error *e)
{
    error_set(e, ERR_NOT_FOUND, "parent: there is no such session");
    return false;
}

bool context_inherit(const struct cleat *core, struct create_request *r, struct error *e)
{
    const struct session *parent = r->parent ? find_parent(core, r) : NULL;
    if (!parent)
        return r->any_tenant ? lacks_parent(e) : true;
    const struct context *c = &parent->context;
    const struct {
        const char *key, *given, *value;
    } names[] = {{"tenant", r->any_tenant ? NULL : r->tenant, c->tenant},
                 {"user", r->user, c->user},
                 {"thread", r->thread, c->thread},
                 {"run", r->run, c->run}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!names[i].given && names[i].value)
            create_request_set(r, names[i].key, names[i].value);
    return true;
}

bool context_may_begin(const struct cleat *core, const struct create_request *r,
                       struct error *e)
{
    const struct session *parent = r->parent ? find_parent(core, r) : NULL;
    if (r->parent && !parent)
        return lacks_parent(e);
    if (parent && parent->state >= SESSION_CLOSING)
        error_set(e, ERR_CLOSED, "parent: the session is closing or closed");
    return e->code == ERR_NONE;
}

/* ---- a child's life ---- */

/* The parent may be loaded, or adopted, later than its child. */
static void look_for_parent(struct session *s)
{
    struct session *parent = context_find(s->core, s->context.tenant, s->context.parent);
    if (!parent || parent == s)
        return;
    s->parent = parent;
    TAILQ_INSERT_TAIL(&parent->children, s, sibling);
}

void context_step(struct session *s)
{
    if (!s->context.parent || s->state >= SESSION_CLOSING)
        return;
    if (!s->parent)
        look_for_parent(s);
    if (!s->parent && !past_is_listed(s->core)) /* it may be adopted yet */
        session_at(s, core_now(s->core) + PARENT_RETRY_MS);
    else if (!s->parent || s->parent->state >= SESSION_CLOSING)
        session_close(s, "parent_closed", NULL);
}

void context_end_children(struct session *s)
{
    struct session *child;
    TAILQ_FOREACH (child, &s->children, sibling)
        session_wake(child);
}

void context_part(struct session *s)
{
    struct session *child;
    if (s->parent)
        TAILQ_REMOVE(&s->parent->children, s, sibling);
    s->parent = NULL;
    while ((child = TAILQ_FIRST(&s->children))) {
        TAILQ_REMOVE(&s->children, child, sibling);
        child->parent = NULL;
    }
}
