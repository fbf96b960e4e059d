/* What callers ask for, checked. */
#ifndef CLEAT_SESSION_REQUEST_H
#define CLEAT_SESSION_REQUEST_H

#include "session/choice.h"
#include "session/core.h"

/* A create; release it. */
struct create_request {
    json_t *json; /* owns the strings below */
    const char *request_id, *tenant, *user, *thread, *run, *parent, *class_name;
    bool any_tenant; /* none is named, its parent's will do */
    bool any_class;  /* the same: resources chose */
    struct resources resources;
    struct error misfit; /* its class lacks resources, which a session that is there may do */
    json_t *env;         /* borrowed */
    json_t *job;         /* borrowed; NULL: it is to be none … */
    json_t *command;     /* … else what it runs (job_request.h), owned; NULL: known already */
    const char *input;
    bool no_queue; /* of this create alone, as its request id */
    int64_t create_timeout_s, idle_timeout_s, max_lifetime_s, exec_timeout_s;
    char *parameters; /* canonical, without the request id */
};

/* tenant: the caller's own, the only one allowed; NULL: any. False and *e: refused, nothing to
 * release. */
bool create_request_parse(const struct cleat_config *, const char *tenant, const char *text,
                          size_t len, struct create_request *, struct error *e);
void create_request_release(struct create_request *);
/* A field is another by then: of json, and of parameters. key and value as in the request. */
void create_request_set(struct create_request *, const char *key, const char *value);

/* An optional number within the range of the class's option of that name. */
void request_take_option(const json_t *, const char *key, int64_t *out, struct error *e);

/* Canonical parameters, of the same request without its env; free(). */
char *request_without_env(const char *parameters);

/* Of an execute or a job: exactly one of code and argv, as they must be. */
void execute_check_command(const json_t *, struct error *e);

/* An execute: the body for the container without what the coordinator adds (new reference), or
 * NULL and *e. *output_limit in bytes. */
json_t *execute_request_parse(const struct session *, const char *text, size_t len,
                              int64_t *timeout_s, int64_t *output_limit, struct error *e);

#endif
