/* The parts of the runtime `docker` among themselves. What is known of a container is a box;
 * its container's name is its key, so that a repeat finds its own. */
#ifndef CLEAT_DRIVER_DOCKER_BOX_H
#define CLEAT_DRIVER_DOCKER_BOX_H

#include <sys/queue.h>
#include <uthash.h>
#include "driver/docker_answer.h"
#include "driver/docker_engine.h"
#include "driver/docker_events.h"
#include "driver/docker_pull.h"
#include "driver/later.h"
#include "driver/runtime.h"

#define DOCKER_REFRESH_RETRY_MS 2000

enum docker_phase {
    DOCKER_LAUNCHING,
    DOCKER_LIVE,
    DOCKER_STOPPING, /* its end is wanted: not reported */
    DOCKER_DEAD,
    DOCKER_CLEARING, /* a failed launch's container, or one that was never started, is removed
                      */
};

struct docker_waiter {
    STAILQ_ENTRY(docker_waiter) entry;
    runtime_launched_fn *done;
    void *arg;
};
STAILQ_HEAD(docker_waiters, docker_waiter);

struct docker_box {
    struct runtime *rt;
    struct container container;
    enum docker_phase phase;
    struct docker_waiters waiters; /* for its address: launches of the same key share one */
    struct docker_call *call;      /* of launching, clearing, or asking what has become of it */
    struct timer retry;
    unsigned tries, missing;
    char *body;  /* of the create; NULL: nobody launches it */
    char *image; /* that the body names: the class's may be another one by now */
    unsigned rounds;
    struct docker_artifacts *artifacts; /* that it waits for */
    struct docker_pull *pull;           /* that it waits for */
    bool pulled;
    bool unanswered; /* a create: it may have its effect later */
    bool unstarted;  /* made by a life before, which may have asked the engine to start it */
    bool died, out_of_memory;
    char cause[64];
    /* Wall clock. Its cached address is what the engine was asked for at confirmed_ms; it holds
     * while nothing has happened to it since, and the event stream is there to tell. */
    int64_t confirmed_ms, changed_ms, asked_ms;
    bool seen;         /* by the listing that is under way */
    UT_hash_handle hh; /* by container.id, which is the key */
};

struct runtime {
    struct runtime_env env;
    struct docker_engine *engine;
    struct docker_events *events;
    struct docker_pulls pulls;
    struct docker_box *boxes;
    struct timer refresh;
    LIST_HEAD(, docker_stop) stops;
    LIST_HEAD(, docker_listing) listings;
    struct later later;
    int64_t events_opened_ms; /* wall clock */
    uint64_t hits, misses;    /* of cached addresses; a hit costs no inspect */
};

/* ---- docker_box.c: the table, what is asked about one, deaths */

bool docker_key_valid(const char *key);
struct docker_box *docker_box_find(struct runtime *, const char *key);
struct docker_box *docker_box_new(struct runtime *, const char *key, enum docker_phase);
void docker_box_forget(struct docker_box *); /* its callbacks do not come any more */
void docker_box_wait(struct docker_box *, runtime_launched_fn *, void *arg);
/* Tells all who wait, and last: the box may be gone after it. */
void docker_box_answer(struct docker_box *, const struct error *);
/* It is gone; who wants to know is told when its last line has been read. */
void docker_box_died(struct docker_box *, const char *cause);
void docker_box_event(struct runtime *, const struct docker_event *);

/* METHOD /containers/KEY + rest */
struct docker_call *docker_about(struct runtime *, const char *method, const char *key,
                                 const char *rest, int64_t timeout_ms, http_done_fn *,
                                 void *arg);
int64_t docker_ask_ms(const struct runtime *);  /* for an answer */
int64_t docker_work_ms(const struct runtime *); /* when it has something to do first */
/* What went wrong, for whoever launches or stops. */
void docker_explain(const struct http_answer *, const char *what, struct error *);

/* ---- docker_address.c: the cache of addresses */

bool docker_address_holds(const struct docker_box *);
void docker_address_set(struct docker_box *, const struct docker_view *, int64_t asked_ms);
/* Something has happened to it at that time. */
void docker_address_doubt(struct docker_box *, int64_t wall_ms);
/* Asks about a live one, once for all who want to know. */
void docker_address_check(struct docker_box *);
/* A listing that was asked for at asked_ms shows it running. */
void docker_address_listed(struct docker_box *, const struct docker_view *, int64_t asked_ms);
json_t *docker_address_status(const struct runtime *);

/* ---- docker_artifacts.c: the directory of a session's artifacts */

/* Makes it, within what an answer may take. done is called once, from the loop. NULL: it is
 * not; either there is nothing to make, or *e says why. */
struct docker_artifacts *docker_artifacts_make(struct runtime *, const char *session,
                                               runtime_done_fn *done, void *arg,
                                               struct error *e);
void docker_artifacts_drop(struct docker_artifacts *); /* done does not come any more */

/* ---- docker_launch.c, docker_stop.c, docker_list.c */

void docker_launch(struct runtime *, const struct launch *, runtime_launched_fn *, void *arg);
/* docker_clear is awaited, or docker_stop where a listing has shown it running. */
void docker_launch_failed(struct docker_box *, const struct error *);
bool docker_awaits_clear(const struct docker_box *);
void docker_launch_again(void *box);
void docker_clear(struct runtime *, const char *key);

void docker_stop(struct runtime *, const struct container *, bool keep, runtime_done_fn *,
                 void *arg);
void docker_stop_drop(struct runtime *); /* forgets those under way */

void docker_list(struct runtime *, runtime_each_fn *, runtime_done_fn *, void *arg);
void docker_list_refresh(void *runtime); /* our own listing: is what we believe true? */
void docker_list_drop(struct runtime *);

#endif
