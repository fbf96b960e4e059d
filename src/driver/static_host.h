/* The parts of the runtime `static` among themselves. A host is one executor that is leased to
 * one session at a time (http/lease.h); a lease is what is known of one launch key. */
#ifndef CLEAT_DRIVER_STATIC_HOST_H
#define CLEAT_DRIVER_STATIC_HOST_H

#include <jansson.h>
#include <sys/queue.h>
#include <uthash.h>
#include "driver/later.h"
#include "driver/runtime.h"
#include "http/client.h"
#include "http/proof.h"

enum static_state {
    STATIC_UNKNOWN, /* not asked yet */
    STATIC_FREE,
    STATIC_LEASED, /* to holder, whosoever that is */
    STATIC_RELEASING,
    STATIC_SILENT,   /* no answer */
    STATIC_REFUSING, /* an answer that is none: another claim key, or no static host */
};

enum static_phase {
    STATIC_ASKING, /* its host was asked, or is about to be */
    STATIC_LIVE,
    STATIC_STOPPING, /* told to release itself until it says that it has */
    STATIC_ENDED,    /* its host does not hold it any more; nobody else gets it yet */
};

struct static_waiter {
    STAILQ_ENTRY(static_waiter) entry;
    runtime_launched_fn *launched; /* of a launch … */
    runtime_done_fn *stopped;      /* … or of a stop */
    void *arg;
};
STAILQ_HEAD(static_waiters, static_waiter);

struct static_lease {
    struct runtime *rt;
    struct container container; /* id: KEY@IP:PORT, so that it tells the host */
    enum static_phase phase;
    struct static_host *host;
    json_t *terms; /* of a launch: what its host is told, with the secret */
    struct static_waiters waiters;
    int64_t deadline; /* of the launch; of the stop that somebody waits for, 0: nobody does */
    unsigned refusals;
    bool keep;
    bool uncertain; /* it may have been taken without our hearing of it */
    bool failed;    /* its launch did: nobody knows of it, and it is forgotten once released */
    TAILQ_ENTRY(static_lease) entry, host_entry;
};
TAILQ_HEAD(static_leases, static_lease);

struct static_host {
    struct runtime *rt;
    char ip[46];
    uint16_t port;
    char name[64];
    bool configured; /* false: of an earlier life, for what is leased there */
    enum static_state state;
    char challenge[PROOF_NONCE_SIZE]; /* of FREE */
    char holder[KEY_SIZE], ended[KEY_SIZE];
    bool in_order;
    char *label;
    struct error error;         /* of SILENT and REFUSING, or why a lease was refused */
    int64_t known_at, heard_at; /* state, last word of its own */
    int64_t used_at;            /* last given out or promised */
    char promised[KEY_SIZE];    /* to the launch of that key; "": to nobody */
    uint64_t answered;          /* tick of the newest answer or failure */
    bool wanted;                /* its state is wanted now */
    struct http_exchange *call;
    char nonce[PROOF_NONCE_SIZE];
    struct static_lease *asker; /* on whose behalf the call is, or NULL */
    bool asks_state;            /* the call asks for no more than that */
    unsigned failures;          /* in a row */
    struct timer next;
    struct static_leases leases; /* ours; as long as there is one, nobody else gets it */
    TAILQ_ENTRY(static_host) entry;
};

struct static_listing;

struct runtime {
    struct runtime_env env;
    uint8_t key[PROOF_SECRET_SIZE]; /* the claim key */
    struct http_share *share;
    TAILQ_HEAD(static_hosts, static_host) hosts;
    struct static_leases leases;
    TAILQ_HEAD(, static_listing) listings;
    uint64_t tick;
    struct task step; /* ends listings */
    struct timer watch;
    struct later later;
};

/* ---- runtime_static.c */

void static_lack(struct runtime *, struct error *e); /* why no host was found */

/* ---- static_host.c: what a host is asked and what it says */

struct static_host *static_host_at(struct runtime *, const char *ip,
                                   uint16_t port); /* or new */
void static_host_free(struct static_host *);
/* Asks what is due: a lease, a release, its state. One call at a time. */
void static_host_step(void *host);
void static_host_want(struct static_host *); /* its state, now */
bool static_host_answered(const struct static_host *);

/* ---- static_lease.c: what becomes of leases */

struct static_lease *static_lease_find(struct runtime *, const char *key, const char *host);
struct static_lease *static_lease_new(struct runtime *, const char *key, enum static_phase);
void static_lease_attach(struct static_lease *, struct static_host *);
void static_lease_forget(struct static_lease *); /* its callbacks do not come any more */
void static_lease_wait(struct static_lease *, runtime_launched_fn *, void *arg); /* a launch */
/* Its host has said what it is at. asked: it answers that lease's own request, with why when it
 * was refused. */
void static_lease_heard(struct static_lease *, bool asked, const struct error *why);
void static_lease_unheard(struct static_lease *, const struct http_answer *); /* no answer */
void static_lease_stop(struct static_lease *, bool keep, runtime_done_fn *, void *arg);

/* ---- static_list.c */

void static_list(struct runtime *, runtime_each_fn *, runtime_done_fn *, void *arg);
void static_list_step(void *runtime); /* ends listings of which all hosts were heard */
void static_list_drop(struct runtime *);
json_t *static_status(struct runtime *);

#endif
