/* The parts of the balancer `alb`: holders and their targets (alb_holder.c), where new ones go
 * (alb_place.c), what is listed (alb_list.c), what examine reads (alb_account.c). */
#ifndef CLEAT_DRIVER_ALB_BALANCER_H
#define CLEAT_DRIVER_ALB_BALANCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>
#include "driver/alb_group.h"
#include "driver/balancer.h"
#include "driver/later.h"
#include "driver/runtime.h"

struct alb_waiter {
    balancer_done_fn *done;
    void *arg;
    STAILQ_ENTRY(alb_waiter) entry;
};

/* Who has a target, or a place for one. An orphan's holder is made when it is to be removed. */
struct alb_holder {
    char id[KEY_SIZE];
    char ip[46]; /* "": only a place is kept */
    uint16_t port;
    struct alb_group *group; /* its place; NULL: none yet */
    bool bound;              /* to that target group: a registration may be on its way there */
    struct alb_target *target; /* NULL: not put anywhere yet */
    bool adopted;              /* put back without anybody who waits for it */
    bool wanted;               /* its registration was accepted: it is to be listed */
    bool leaving, let_go;      /* let_go: its deregistration was accepted */
    bool orphan;
    struct told told;
    int64_t changed_ms;
    STAILQ_HEAD(, alb_waiter) waiters;
    UT_hash_handle hh;
};

struct alb_list_call;
struct alb_examination;

struct balancer {
    struct balancer_env env;
    struct later later;
    struct alb_env alb;
    struct alb_group *groups;
    size_t count;
    struct alb_owners owners;
    bool started; /* tags and listings were asked for */
    struct alb_holder *holders;
    STAILQ_HEAD(, alb_waiter) strangers; /* wait until no orphan is on its way out */
    TAILQ_HEAD(, alb_list_call) lists;
    TAILQ_HEAD(, alb_examination) examinations;
};

/* ---- alb_holder.c ---- */

struct alb_holder *alb_holder_find(const struct balancer *, const char *id);
struct alb_holder *alb_holder_new(struct balancer *, const char *id);
void alb_holder_free(struct balancer *, struct alb_holder *);
void alb_holder_await(struct alb_holder *, balancer_done_fn *, void *arg);
void alb_holder_finish(struct balancer *, struct alb_holder *, const struct error *);
void alb_holder_tell(struct balancer *, struct alb_holder *, enum target_state,
                     const char *reason);
/* It gets the target; a former holder that was leaving is done with. */
void alb_holder_take(struct balancer *, struct alb_holder *, struct alb_target *);
/* done: it is deregistered, or nobody ever heard of it. */
void alb_holder_leave(struct balancer *, struct alb_holder *, balancer_done_fn *, void *arg);
/* Its end: GONE, and who waits for it is answered. Its target may stay in the listing. */
void alb_holder_end(struct balancer *, struct alb_holder *, const char *reason);
bool alb_orphans_leaving(const struct balancer *); /* not yet accepted */
void alb_holder_changed(struct balancer *, struct alb_target *, enum alb_wish,
                        const struct error *);
void alb_holders_judge(struct balancer *, struct alb_group *); /* after a listing */
/* When the group is looked at next, if at all. */
void alb_holders_schedule(struct balancer *, struct alb_group *);

/* ---- alb_place.c ---- */

void alb_start(struct balancer *);
/* Owner and targets of every group are known, or that it is none of ours. */
bool alb_all_known(const struct balancer *);
bool alb_reserve(struct balancer *, const struct target *);
/* Takes its place in the target group that the target names, if that is one of ours. */
void alb_bind(struct balancer *, struct alb_holder *, const struct target *);
void alb_unreserve(struct balancer *, const char *id);
/* Puts it into a target group, as soon as that can be decided. */
void alb_place(struct balancer *, struct alb_holder *);
void alb_place_all(struct balancer *);
/* Takes out of its target group what leaves and was never placed here, as soon as it is known
 * where that is. */
void alb_part(struct balancer *, struct alb_holder *);
void alb_part_all(struct balancer *);
size_t alb_load(const struct alb_group *); /* targets and kept places */

/* ---- alb_list.c ---- */

void alb_list(struct balancer *, balancer_each_fn *, balancer_done_fn *, void *arg);
void alb_look_lists(struct balancer *); /* after each news of a group */
void alb_forget_lists(struct balancer *);

/* ---- alb_account.c ---- */

void alb_examine(struct balancer *, finding_fn *, balancer_done_fn *, void *arg);
void alb_examine_cancel(struct balancer *);

#endif
