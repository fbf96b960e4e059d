/* The label of a container: what it takes to adopt its session when the journal knows nothing
 * of it. LABEL = version digit, 32 hex digits, base64url of compact JSON; the digits are a MAC
 * over the rest under the master key, bound to the session: a label comes from outside. */
#ifndef CLEAT_SESSION_LABEL_H
#define CLEAT_SESSION_LABEL_H

#include "session/core.h"

struct label {
    char *tenant, *request_id, *class_name;
    char *parameters; /* canonical, without the env; NULL: they did not fit */
    int64_t created;  /* core time, ms */
    bool env;         /* one was asked for; it is in no label */
};

/* For every launch of that session: at most LABEL_MAX of [A-Za-z0-9_-]; free(). Parameters that
 * do not fit are left out. */
char *label_make(const struct session *);

/* The label of a container of the session of that id. False, nothing to release, and *e:
 * ERR_INVALID (missing, damaged, or of another version) or ERR_FORBIDDEN (made with another
 * master key, or for another session). */
bool label_read(const struct cleat *, const char *session, const char *text, struct label *,
                struct error *e);
void label_release(struct label *);

#endif
