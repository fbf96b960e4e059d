/* The routes of jobs: what they find and change is the caller's own (x->tenant). */
#ifndef CLEAT_CLEATD_API_JOBS_H
#define CLEAT_CLEATD_API_JOBS_H

#include "cleatd/exchange.h"

void api_post_jobs(struct exchange *);
void api_get_jobs(struct exchange *);
void api_get_job(struct exchange *);
void api_delete_job(struct exchange *);
void api_get_job_logs(struct exchange *);

#endif
