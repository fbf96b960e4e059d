/* Who asks, and what is theirs. */
#ifndef CLEAT_SESSION_CONTEXT_H
#define CLEAT_SESSION_CONTEXT_H

#include "session/core.h"

struct create_request;

/* Whether a caller may know of it. tenant NULL: the operator, who sees all. */
bool context_sees(const char *tenant, const struct session *);
/* NULL: there is none, or it is another tenant's, which is the same. */
struct session *context_find(const struct cleat *, const char *tenant, const char *id);

/* What a request does not name of tenant, user, thread and run it has from its parent, if that
 * is there. False and *e (ERR_NOT_FOUND): it is not, and so nobody knows the tenant. */
bool context_inherit(const struct cleat *, struct create_request *, struct error *e);
/* A new session's parent is one of its tenant that is not closing. False and *e
 * (ERR_NOT_FOUND, ERR_CLOSED). */
bool context_may_begin(const struct cleat *, const struct create_request *, struct error *e);

/* A step: a child closes when its parent does, or is no more. */
void context_step(struct session *);
void context_end_children(struct session *); /* they take that step */
void context_part(struct session *);         /* nobody's child or parent any more */

#endif
