/* Leases: a launch finds a host, a stop frees it. */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "driver/static_host.h"
#include "http/lease.h"

#define REFUSALS_MAX 4
#define UNSENT_MAX 3

struct static_lease *static_lease_find(struct runtime *rt, const char *key, const char *host)
{
    struct static_lease *l;
    TAILQ_FOREACH (l, &rt->leases, entry)
        if (strcmp(l->container.key, key) == 0 &&
            (host == NULL || (l->host != NULL && strcmp(l->host->name, host) == 0)))
            return l;
    return NULL;
}

struct static_lease *static_lease_new(struct runtime *rt, const char *key,
                                      enum static_phase phase)
{
    struct static_lease *l = mem_alloc(sizeof(*l));
    l->rt = rt;
    l->phase = phase;
    mem_copy_string(l->container.key, sizeof(l->container.key), key);
    STAILQ_INIT(&l->waiters);
    TAILQ_INSERT_TAIL(&rt->leases, l, entry);
    return l;
}

void static_lease_attach(struct static_lease *l, struct static_host *h)
{
    struct container *c = &l->container;
    l->host = h;
    mem_copy_string(c->ip, sizeof(c->ip), h->ip);
    c->port = h->port;
    char *id = mem_printf("%s@%s", c->key, h->name);
    mem_copy_string(c->id, sizeof(c->id), id);
    free(id);
    TAILQ_INSERT_TAIL(&h->leases, l, host_entry);
}

static void detach(struct static_lease *l)
{
    struct static_host *h = l->host;
    if (h == NULL)
        return;
    TAILQ_REMOVE(&h->leases, l, host_entry);
    if (h->asker == l)
        h->asker = NULL;
    l->host = NULL;
    task_wake(&l->rt->step);
}

static void forget_terms(struct static_lease *l)
{
    json_decref(l->terms);
    l->terms = NULL;
}

void static_lease_forget(struct static_lease *l)
{
    struct static_waiter *w;
    while ((w = STAILQ_FIRST(&l->waiters)) != NULL) {
        STAILQ_REMOVE_HEAD(&l->waiters, entry);
        free(w);
    }
    detach(l);
    forget_terms(l);
    TAILQ_REMOVE(&l->rt->leases, l, entry);
    free(l);
}

/* ---- who waits */

void static_lease_wait(struct static_lease *l, runtime_launched_fn *done, void *arg)
{
    struct static_waiter *w = mem_alloc(sizeof(*w));
    w->launched = done;
    w->arg = arg;
    STAILQ_INSERT_TAIL(&l->waiters, w, entry);
}

static void answer_launches(struct static_lease *l, const struct error *e)
{
    struct static_waiter *w, *next;
    for (w = STAILQ_FIRST(&l->waiters); w != NULL; w = next) {
        next = STAILQ_NEXT(w, entry);
        if (w->launched == NULL)
            continue;
        later_launched(&l->rt->later, w->launched, w->arg, e, &l->container);
        STAILQ_REMOVE(&l->waiters, w, static_waiter, entry);
        free(w);
    }
}

static void answer_stops(struct static_lease *l, const struct error *e)
{
    struct static_waiter *w, *next;
    l->deadline = 0;
    for (w = STAILQ_FIRST(&l->waiters); w != NULL; w = next) {
        next = STAILQ_NEXT(w, entry);
        if (w->stopped == NULL)
            continue;
        later_finish(&l->rt->later, w->stopped, w->arg, e);
        STAILQ_REMOVE(&l->waiters, w, static_waiter, entry);
        free(w);
    }
}

/* ---- turns of a lease */

static void tell(const struct static_lease *l, enum lease_change change, const char *why)
{
    const struct runtime_env *env = &l->rt->env;
    if (env->on_lease != NULL)
        env->on_lease(env->arg, change, l->container.key, l->host->name, why);
}

static bool is_held(const struct static_lease *l)
{
    return l->host->state == STATIC_LEASED && strcmp(l->host->holder, l->container.key) == 0;
}

static void go_live(struct static_lease *l)
{
    struct error none = {0};
    l->phase = STATIC_LIVE;
    forget_terms(l);
    log_info("host.leased", KV("lease", l->container.key), KV("host", l->host->name));
    tell(l, LEASE_TAKEN, "");
    answer_launches(l, &none);
}

static void fail(struct static_lease *l, const struct error *e)
{
    answer_launches(l, e);
    if (!l->uncertain) {
        static_lease_forget(l);
        return;
    }
    /* Nobody knows whether it was taken: it is released until the host says that it is not. */
    l->failed = true;
    l->phase = STATIC_STOPPING;
    forget_terms(l);
    static_host_step(l->host);
}

static bool past_deadline(const struct static_lease *l)
{
    return l->deadline > 0 && loop_now_ms(l->rt->env.loop) >= l->deadline;
}

/* A host that is free was asked too late: its challenge had changed meanwhile. */
static bool may_ask_again(struct static_lease *l, bool asked)
{
    if (asked)
        l->refusals++;
    return l->host->state == STATIC_FREE && l->refusals < REFUSALS_MAX && !past_deadline(l);
}

static void hear_asking(struct static_lease *l, bool asked, const struct error *why)
{
    if (is_held(l)) {
        go_live(l);
        return;
    }
    l->uncertain = l->uncertain && !asked;
    if (may_ask_again(l, asked))
        return;
    struct error busy;
    error_set(&busy, ERR_CAPACITY, "host %s is leased meanwhile", l->host->name);
    l->uncertain = false; /* whatever is on its way to it comes too late */
    fail(l, why != NULL ? why : &busy);
}

struct death {
    struct runtime *rt;
    char key[KEY_SIZE];
    char cause[96];
    bool in_order;
};

static void give_death(void *payload)
{
    struct death *d = payload;
    d->rt->env.on_exit(d->rt->env.arg, d->key, d->cause, d->in_order);
}

static void hear_live(struct static_lease *l)
{
    struct static_host *h = l->host;
    if (is_held(l) || h->state == STATIC_RELEASING)
        return; /* whose end it is shows when it is over */
    struct death *d = later_call(&l->rt->later, give_death, sizeof(*d));
    d->rt = l->rt;
    d->in_order = h->in_order && strcmp(h->ended, l->container.key) == 0;
    mem_copy_string(d->key, sizeof(d->key), l->container.key);
    mem_copy_string(d->cause, sizeof(d->cause),
                    d->in_order ? "its host released itself: a limit was reached"
                                : "its host does not hold the session any more");
    l->phase = STATIC_ENDED;
}

static void end(struct static_lease *l)
{
    l->phase = STATIC_ENDED;
    answer_stops(l, NULL);
    if (l->failed)
        static_lease_forget(l);
}

static void released(struct static_lease *l)
{
    log_info("host.released", KV("lease", l->container.key), KV("host", l->host->name));
    tell(l, LEASE_RELEASED, "");
    end(l);
}

static void complain(struct static_lease *l)
{
    struct error e;
    if (!past_deadline(l))
        return;
    error_set(&e, ERR_TIMEOUT, "host %s has not confirmed its release: %.150s", l->host->name,
              static_host_answered(l->host) ? "it is still at it" : l->host->error.message);
    tell(l, LEASE_UNCONFIRMED, e.message);
    answer_stops(l, &e);
}

void static_lease_heard(struct static_lease *l, bool asked, const struct error *why)
{
    bool stopping = l->phase == STATIC_STOPPING;
    if (l->phase == STATIC_ASKING)
        hear_asking(l, asked, why);
    else if (l->phase == STATIC_LIVE)
        hear_live(l);
    else if (stopping && !is_held(l) && l->host->state != STATIC_RELEASING &&
             (asked || l->host->state == STATIC_LEASED))
        released(
            l); /* free, and what was under way has lost its challenge; or somebody else's */
    else if (stopping)
        complain(l);
}

/* Its operator has taken the host away: there is nothing to wait for. */
static bool is_given_up(const struct static_lease *l)
{
    return l->phase == STATIC_STOPPING && !l->host->configured && past_deadline(l);
}

/* A host that does not listen is not waited for as one that does not answer is. */
static bool is_hopeless(const struct static_lease *l, const struct http_answer *answer)
{
    return past_deadline(l) || (!answer->sent && l->host->failures >= UNSENT_MAX);
}

static void fail_unheard(struct static_lease *l)
{
    struct error e = {0};
    static_lack(l->rt, &e);
    if (e.code == ERR_CAPACITY) /* others are there */
        error_set(&e, ERR_CAPACITY, "%.240s", l->host->error.message);
    fail(l, &e);
}

void static_lease_unheard(struct static_lease *l, const struct http_answer *answer)
{
    if (is_given_up(l)) {
        log_error("host.given_up", KV("lease", l->container.key), KV("host", l->host->name),
                  KV("cause", "it is not configured and does not answer"));
        tell(l, LEASE_GIVEN_UP, "");
        end(l);
    } else if (l->phase == STATIC_STOPPING) {
        complain(l);
    } else if (l->phase == STATIC_ASKING && is_hopeless(l, answer)) {
        fail_unheard(l);
    }
}

void static_lease_stop(struct static_lease *l, bool keep, runtime_done_fn *done, void *arg)
{
    struct runtime *rt = l->rt;
    if (l->phase == STATIC_ENDED) {
        later_finish(&rt->later, done, arg, NULL);
        return;
    }
    struct static_waiter *w = mem_alloc(sizeof(*w));
    w->stopped = done;
    w->arg = arg;
    STAILQ_INSERT_TAIL(&l->waiters, w, entry);
    l->keep = keep || (l->keep && l->phase == STATIC_STOPPING);
    l->phase = STATIC_STOPPING;
    l->deadline = loop_now_ms(rt->env.loop) + rt->env.class->step_timeout_s * 1000;
    timer_stop(&l->host->next);
    static_host_step(l->host);
}
