/* One target group of an Application Load Balancer: whose it is (alb_owner.c), what it lists
 * (alb_group.c), and the registrations on their way to it (alb_change.c). Which session holds
 * which target is the business of alb_holder.h. */
#ifndef CLEAT_DRIVER_ALB_GROUP_H
#define CLEAT_DRIVER_ALB_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>
#include "base/error.h"
#include "driver/alb_fields.h"
#include "driver/balancer.h"
#include "http/aws.h"
#include "loop/loop.h"

struct alb_group;
struct alb_holder;

enum alb_wish { ALB_NOTHING, ALB_REGISTER, ALB_DEREGISTER };

/* An address that the target group lists, or that somebody wants it to list. */
struct alb_target {
    struct alb_group *group;
    char key[64]; /* "IP PORT" */
    char ip[46];
    uint16_t port;
    struct alb_holder *holder; /* NULL: nobody that we know */

    bool listed; /* by the newest listing that may speak of it */
    enum alb_health health;
    char reason[48];
    unsigned missing;     /* listings in a row without it */
    uint64_t judged_from; /* earlier listings may be older than its newest change */

    enum alb_wish wish, flying; /* waiting in the queue, and under way */
    size_t most;  /* so many may share its next call: it was in one that was refused */
    bool touched; /* a registration may have reached the load balancer */
    int64_t since_ms;
    TAILQ_ENTRY(alb_target) entry; /* while it has a wish and is not flying */
    UT_hash_handle hh;
};

/* All are called from the loop. */
struct alb_env {
    struct loop *loop;
    struct aws *aws;
    const char *owner;
    void (*owned)(void *arg); /* what is known of some group's owner changed, or why not */
    void (*looked)(void *arg, struct alb_group *); /* a listing came, or failed */
    /* Its newest wish was fulfilled or failed (then e is not NULL). */
    void (*changed)(void *arg, struct alb_target *, enum alb_wish, const struct error *e);
    void *arg;
};

enum alb_owner { ALB_OWNER_UNKNOWN, ALB_OWNER_NONE, ALB_OWNER_OURS, ALB_OWNER_OTHER };
enum alb_tag_step { ALB_TAG_REST, ALB_TAG_READ, ALB_TAG_ADD };

struct alb_group {
    const struct alb_env *env;
    const char *arn;
    char name[64];
    struct balancer_node node;
    char number[24]; /* value of the header that leads here */

    enum alb_owner owner;
    char owner_name[64];
    enum alb_tag_step tag_step;
    int64_t tag_due_ms, tag_read_ms;
    unsigned tag_failures;
    bool alone;   /* asked for by itself, since a call for several was refused */
    bool claimed; /* we want it to be ours */
    bool tagged;  /* our tag was written */
    struct error tag_problem;

    struct alb_target *targets;
    struct timer look_timer;
    struct aws_call *look_call;
    uint64_t looks, looks_done; /* started, ended */
    bool look_again, known;     /* known: there was a listing */
    struct error look_problem;
    size_t healthy, unhealthy;
    bool fail_open;

    TAILQ_HEAD(alb_queue, alb_target) queue;
    struct timer change_timer;
    struct aws_call *change_call;
    struct alb_target *batch[ALB_TARGETS_PER_CALL];
    size_t batch_size;
    enum alb_wish batch_wish;

    size_t reserved;   /* places kept for targets that are not there yet */
    int64_t wanted_ms; /* when somebody last found no place here; 0: never */
    struct error last; /* for people */
};

void alb_group_init(struct alb_group *, const struct alb_env *, const char *arn);
void alb_group_release(struct alb_group *); /* calls are cancelled, targets freed */

struct alb_target *alb_target_find(const struct alb_group *, const char *ip, uint16_t port);
struct alb_target *alb_target_get(struct alb_group *, const char *ip, uint16_t port);
/* Frees it when nobody holds, lists or wants it. True: it is gone. */
bool alb_target_settle(struct alb_target *);
/* Whether the newest listing speaks of it: nothing is on its way that it may not show yet. */
bool alb_target_judgeable(const struct alb_target *);

void alb_group_look(struct alb_group *);                /* now; one at a time */
void alb_group_look_in(struct alb_group *, int64_t ms); /* at the latest */
void alb_group_failed(struct alb_group *, const char *what, const struct error *);

/* ---- alb_change.c ---- */

/* The newest wish counts. Wishes of one group gather for a moment and go out together, one call
 * at a time. */
void alb_change_want(struct alb_target *, enum alb_wish);
void alb_change_cancel(struct alb_target *); /* what is not under way */
void alb_change_init(struct alb_group *);
void alb_change_release(struct alb_group *);

/* ---- alb_owner.c ---- */

struct alb_owners {
    const struct alb_env *env;
    struct alb_group *groups;
    size_t count;
    struct timer timer;
    struct aws_call *call;
    struct alb_group *asked[ALB_ARNS_PER_CALL];
    size_t asked_count;
    enum alb_tag_step asked_for;
};

void alb_owners_init(struct alb_owners *, const struct alb_env *, struct alb_group *, size_t);
void alb_owners_release(struct alb_owners *);
void alb_owners_read(struct alb_owners *);  /* all groups' tags */
void alb_owners_claim(struct alb_owners *); /* groups without an owner become ours */
/* Some claim is neither done nor failed. */
bool alb_owners_claiming(const struct alb_owners *);

#endif
