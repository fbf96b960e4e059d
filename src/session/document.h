/* The JSON documents of the public API. What makes a value gives a new reference. */
#ifndef CLEAT_SESSION_DOCUMENT_H
#define CLEAT_SESSION_DOCUMENT_H

#include "session/core.h"

json_t *session_document(const struct session *);

/* Whose it is, and of what class. */
void document_add_context(json_t *, const struct session *);
json_t *document_time(int64_t ms); /* core time, as RFC 3339 in UTC with milliseconds */
json_t *document_number(uint64_t);
json_t *document_optional(const char *text);      /* null for NULL and "" */
json_t *document_address(const struct attempt *); /* "ip:port"; null without a container */
char *document_take(json_t *);                    /* its text, free(); takes the reference */

#endif
