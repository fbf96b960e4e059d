/* The JSON documents of jobs. */
#ifndef CLEAT_SESSION_JOB_DOCUMENT_H
#define CLEAT_SESSION_JOB_DOCUMENT_H

#include "session/core.h"

json_t *job_document(const struct session *); /* of a job; new reference */

#endif
