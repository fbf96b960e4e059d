/* One request to the container of an attempt, through its own pool, and the judgement of its
 * answer. */
#ifndef CLEAT_SESSION_MESSAGE_H
#define CLEAT_SESSION_MESSAGE_H

#include "session/core.h"

struct message_options {
    const char *method, *path;
    json_t *body; /* borrowed; NULL: none */
    bool direct;  /* to its own address instead of the route */
    bool respond_async;
    bool anonymous; /* a nonce only: who is there has not proven itself yet */
    bool nameless;  /* a plain container answers this without its session id */
    int64_t connect_timeout_ms, timeout_ms;
    size_t max_answer;
};

/* Sends; what m held before is forgotten. When the answer is judged m->state is OP_DONE and the
 * session is woken. Cookies are taken only from an answer that proved itself. */
void message_send(struct message *m, struct attempt *, const struct message_options *);
/* A count that a container tells. False: it tells none, or none that makes sense. */
bool message_count(const json_t *body, const char *key, int64_t *out);
void message_reset(struct message *); /* cancels, forgets the answer; idle again */

#endif
