/* One container's server: what its parts share. */
#ifndef CLEAT_EXECUTOR_EXECUTOR_H
#define CLEAT_EXECUTOR_EXECUTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/queue.h>
#include "executor/closing.h"
#include "executor/config.h"
#include "executor/execution.h"
#include "executor/helper.h"
#include "executor/lease.h"
#include "executor/nonces.h"
#include "http/aws.h"
#include "http/server.h"
#include "loop/loop.h"

#define WAIT_MAX_S 60
#define WAITERS_MAX 128

struct executor;
struct waiter;

/* A request that waits for an execution. Called when something changed, and with expired when
 * its time is up; answers when it can, and says whether it did. */
typedef bool waiter_fn(struct waiter *, bool expired);

struct waiter {
    struct executor *executor;
    struct server_request *request;
    struct execution *execution;
    waiter_fn *try_answer;
    struct timer timer;
    uint64_t offset; /* of GET …/output */
    bool of_stderr;
    TAILQ_ENTRY(waiter) entry;
};
TAILQ_HEAD(waiter_list, waiter);

/* A request that waits for the upload or for the claim's copy. */
struct pending {
    struct server_request *request;
    struct executor *executor;
    bool download; /* of a file-sync */
    TAILQ_ENTRY(pending) entry;
};
TAILQ_HEAD(pending_list, pending);
void pending_gone(void *pending); /* the client left: the entry stays, without its request */

enum claim_state { CLAIM_NONE, CLAIM_COPYING, CLAIM_DONE };

struct executor {
    struct loop *loop;
    struct config config;
    struct lease lease; /* of a static host */
    struct server *server;
    struct executions executions;
    struct closing closing;
    struct nonces nonces;
    struct waiter_list waiters;
    unsigned waiter_count;
    struct pending_list completing, claiming;
    json_t *claim; /* the body that was taken */
    enum claim_state claim_state;
    bool synced;          /* a file-sync brought its input */
    struct aws_keys keys; /* that were handed over; access_key NULL: none */
    /* A complete that waited was answered: healthy no more, as the plain contract says. Who
     * asks for the state may have to ask again, and may reach us only as long as we are
     * healthy. */
    bool confirmed;
    bool stopping;   /* SIGTERM or a limit: exit once the upload is done */
    bool terminated; /* SIGTERM: a static host does not go on either */
    int exit_code;
    struct timer idle, lifetime, linger;
    struct signal_watch *sigterm, *sigint;
};

/* ---- lifecycle (lifecycle.c) */
enum error_code executor_start(struct executor *, struct error *e); /* config is filled */
void executor_release(struct executor *);
void executor_begin(struct executor *); /* the session's limits count from now on */
void executor_touch(struct executor *); /* a request came: not idle */
/* Leaves the loop when the last answers are out. */
void executor_leave(struct executor *, int exit_code);
bool executor_closed(const struct executor *); /* nothing may be started any more */

/* ---- answers with proof (contract.c) */
void contract_request(void *executor, struct server_request *);
void contract_answer(struct executor *, struct server_request *, int status,
                     json_t *body); /* takes body */
void contract_answer_bytes(struct executor *, struct server_request *, const void *data,
                           size_t len);
void contract_refuse(struct executor *, struct server_request *, const struct error *);
/* The body as an object whose session_id is ours; NULL: it has been refused. New reference. */
json_t *contract_body(struct executor *, struct server_request *);

/* ---- routes: each leads to exactly one answer */
typedef void route_fn(struct executor *, struct server_request *, const char *rest);
route_fn route_execute, route_execution, route_cancel;      /* route_run.c */
route_fn route_output;                                      /* route_output.c */
route_fn route_complete, route_complete_state, route_claim; /* route_session.c */
route_fn route_file_sync;                                   /* route_sync.c */
route_fn route_credentials;                                 /* route_credentials.c */
route_fn route_lease, route_lease_state, route_release;     /* lease_route.c */

bool lease_is_free(const struct executor *);     /* a static host without a session */
void lease_challenge(struct executor *);         /* a new one */
bool lease_answer_free(struct server_request *); /* of a free host; false: not for everybody */

/* Lets it wait for at most wait_s, -1: for ever; 0 answers at once. */
void route_wait(struct executor *, struct server_request *, struct execution *, waiter_fn *,
                const struct waiter *template, int64_t wait_s);
/* NULL: it has been refused. */
struct execution *route_find_execution(struct executor *, struct server_request *,
                                       const char *id);
void route_execution_changed(void *executor, struct execution *);
void route_closing_ended(struct executor *);

#endif
