/* A request for a job: a create (request.h), and what it runs. */
#ifndef CLEAT_SESSION_JOB_REQUEST_H
#define CLEAT_SESSION_JOB_REQUEST_H

#include "session/request.h"

/* r->command is what the container is to be sent, r->job what the journal keeps of it. False
 * and *e: refused, nothing to release. */
bool job_request_parse(const struct cleat_config *, const char *tenant, const char *text,
                       size_t len, struct create_request *r, struct error *e);

/* "job" of the parameters of a create. */
void job_spec_check(const json_t *spec, struct error *e);

#endif
