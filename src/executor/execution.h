/* Executions: one runs at a time, each id at most once; records of all are kept. */
#ifndef CLEAT_EXECUTOR_EXECUTION_H
#define CLEAT_EXECUTOR_EXECUTION_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>
#include "base/error.h"
#include "executor/config.h"
#include "executor/order.h"
#include "executor/output.h"
#include "loop/child.h"
#include "loop/loop.h"

#define EXECUTION_GRACE_MS 2000 /* from SIGTERM to SIGKILL */
#define EXECUTIONS_MAX 100000   /* per container */

struct executions;

struct execution {
    struct executions *owner;
    char *id;
    unsigned num;
    char digest[65]; /* of what was asked */
    bool running, timed_out, cancelled, is_python;
    int exit_code, signal; /* -1: none */
    int64_t started_ms, elapsed_ms, timeout_s;
    char *error; /* NULL: none */
    struct output out, err;
    bool collected;     /* who asked reads its output apart from its record … */
    struct order order; /* … of both streams together */
    UT_hash_handle hh;
};

struct execution_request {
    const char *id;     /* NULL: one is minted */
    const char *code;   /* either this … */
    const json_t *argv; /* … or this, an array of strings */
    json_t *env;        /* object of strings, may be NULL */
    const char *input;  /* for its descriptor 0; NULL: nothing */
    size_t input_len;
    bool collected;
    int64_t timeout_s, output_limit;
};

struct executions {
    struct loop *loop;
    const struct config *config;
    struct execution *by_id, *current, *collected;
    unsigned started, ended;
    json_t *env; /* of the claim, NULL: none */
    struct child *child;
    int status;
    struct timer deadline, grace, sweep;
    int64_t sweep_until_ms;
    void (*changed)(void *arg, struct execution *); /* output came, or it ended */
    void *arg;
};

void executions_init(struct executions *, struct loop *, const struct config *,
                     void (*changed)(void *arg, struct execution *), void *arg);
void executions_release(struct executions *); /* kills what runs */

/* Starts it, or finds the one with that id. NULL and *e: ERR_CONFLICT (another request had that
 * id), ERR_NOT_READY (another one runs), ERR_FULL. When it could not be started it has already
 * ended, without a call of changed. */
struct execution *executions_start(struct executions *, const struct execution_request *,
                                   struct error *e);
struct execution *executions_find(struct executions *, const char *id);
/* SIGTERM, then SIGKILL; changed tells the end. Harmless on one that ended. */
void executions_cancel(struct execution *);

/* The record as the contract has it; outputs as text when wanted. New reference. */
json_t *execution_document(const struct execution *, bool with_output);

#endif
