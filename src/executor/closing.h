/* The session's end: the running execution and copies first, then the upload. Idempotent, and
 * may be tried again after a failure. */
#ifndef CLEAT_EXECUTOR_CLOSING_H
#define CLEAT_EXECUTOR_CLOSING_H

#include <stdbool.h>
#include "executor/config.h"
#include "executor/execution.h"
#include "executor/helper.h"
#include "loop/loop.h"

enum closing_state { CLOSING_NONE, CLOSING_RUNNING, CLOSING_DONE, CLOSING_FAILED };

struct closing {
    struct loop *loop;
    const struct config *config;
    struct executions *executions;
    enum closing_state state;
    char *nonce;
    struct helper *upload;
    struct task step;
    struct helper_progress progress;
    struct error error;       /* of CLOSING_FAILED */
    void (*ended)(void *arg); /* from the loop, at each change to DONE or FAILED */
    void *arg;
};

void closing_init(struct closing *, struct loop *, const struct config *, struct executions *,
                  void (*ended)(void *arg), void *arg);
void closing_release(struct closing *);
void closing_begin(struct closing *,
                   const char *nonce); /* nothing while it runs or when it is done */
void closing_wake(struct closing *);   /* an execution or a copy ended */
const char *closing_state_name(enum closing_state);

#endif
