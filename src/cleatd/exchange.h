/* One request of the API, from its arrival to its answer. */
#ifndef CLEAT_CLEATD_EXCHANGE_H
#define CLEAT_CLEATD_EXCHANGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include "base/error.h"
#include "base/id.h"
#include "cleat.h"
#include "cleatd/peers.h"
#include "http/server.h"
#include "loop/loop.h"

enum wait_for { WAIT_NONE, WAIT_READY, WAIT_CLOSED };

struct exchange {
    struct loop *loop;
    struct cleat *cleat;
    struct server_request *request;
    enum role role; /* of the client … */
    char *tenant;   /* … and its tenant, for libcleat; NULL: an operator, who sees all */
    struct cleat_call *call; /* under way, cancelled when the client leaves */
    char session[ID_SIZE];   /* of the path, or the one that was created */
    enum wait_for wait;
    int64_t wait_ms, started_ms;
    int status;               /* of the answer when all goes well */
    const char *content_type; /* of it; NULL: JSON */
    int retry_after_s;        /* 0: nothing is known */
    bool creates;             /* the answer says whether the session is new … */
    bool created;             /* … and this is what it says */
    bool cancels; /* when the client leaves, the session that this request made is closed */
    bool gone;    /* the client left; the exchange ends with the turn */
    struct stream *stream;              /* its answer goes on; NULL: it does not … */
    void (*release)(struct exchange *); /* … and this frees it */
    size_t max_streams;                 /* that may be open at once */
    struct exchange_list *list;
    TAILQ_ENTRY(exchange) entry;
};
TAILQ_HEAD(exchange_list, exchange);

struct exchange *exchange_new(struct exchange_list *, struct loop *, struct cleat *,
                              struct server_request *);
/* The server is freed already: frees, answers nobody. */
void exchange_drop(struct exchange *);

/* Each ends the exchange. */
void exchange_answer(struct exchange *, int status, const char *document);
void exchange_answer_owned(struct exchange *,
                           char *document); /* NULL: no such session. Frees it */
void exchange_fail(struct exchange *, const struct cleat_error *);
void exchange_refuse(struct exchange *, enum error_code, int status, const char *message);
void exchange_refuse_full(struct exchange *, const char *reason, const char *message);
void exchange_end(struct exchange *); /* of a stream */
void exchange_cut(struct exchange *); /* the same in the middle: the client sees that */
struct stream_counts {
    size_t all, of_tenants, of_own; /* own: of this exchange's tenant */
};
struct stream_counts exchange_streams(const struct exchange *);
/* A cleat_done_fn: what a call of libcleat ends in. */
void exchange_done(void *exchange, const struct cleat_error *, const char *document);

#endif
