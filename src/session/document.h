/* The JSON documents of the public API. */
#ifndef CLEAT_SESSION_DOCUMENT_H
#define CLEAT_SESSION_DOCUMENT_H

#include "session/core.h"

json_t *session_document(const struct session *); /* new reference */

#endif
