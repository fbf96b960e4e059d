/* The session core's objects. One task per session runs its steps: every finished op, timer,
 * balancer event or commit only stores a result and wakes that task. */
#ifndef CLEAT_SESSION_CORE_H
#define CLEAT_SESSION_CORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>
#include "base/error.h"
#include "base/id.h"
#include "driver/balancer.h"
#include "driver/class.h"
#include "driver/runtime.h"
#include "driver/store.h"
#include "http/aws.h"
#include "http/client.h"
#include "http/cookie.h"
#include "http/pool.h"
#include "http/proof.h"
#include "loop/loop.h"
#include "session/breaker.h"
#include "session/event_ring.h"
#include "session/limits.h"
#include "session/pace.h"

enum session_state {
    SESSION_QUEUED,
    SESSION_OPENING,
    SESSION_READY,
    SESSION_BUSY,
    SESSION_REROUTING,
    SESSION_CLOSING,
    SESSION_CLOSED,
    SESSION_FAILED,
    SESSION_STATES
};

enum attempt_state {
    ATTEMPT_LAUNCHING,
    ATTEMPT_STARTING,
    ATTEMPT_REGISTERING,
    ATTEMPT_CHECKING,
    ATTEMPT_ROUTING,
    ATTEMPT_STAGING,
    ATTEMPT_LIVE,
    ATTEMPT_ENDING,
    ATTEMPT_SALVAGING,
    ATTEMPT_ENDED,
    ATTEMPT_STATES
};

extern const char *const session_state_names[SESSION_STATES];
extern const char *const attempt_state_names[ATTEMPT_STATES];

/* Options of the coordinator itself. */
struct settings {
    char *state_dir, *owner, *executor, *aws_region;
    int64_t max_sessions, max_queued, queue_timeout_s, retention_s, max_closed;
    int64_t tenant_max_sessions, tenant_max_queued, user_max_sessions, user_max_queued;
    char **tenant_limits; /* limits.h */
    int durability;       /* enum store_durability */
    int64_t reap_interval_s, reap_grace_s;
    bool reap_dry_run;
};
extern const struct option settings_options[];

/* An op of a driver, as its owner sees it. */
enum op_state { OP_IDLE, OP_RUNNING, OP_DONE };
struct op {
    enum op_state state;
    struct error error; /* of a done op; ERR_NONE: it worked */
    bool trial;         /* it tries for all whether its engine works again */
};

/* The calls of drivers that have a breaker in each class. */
enum driver_call {
    DRIVER_LAUNCH,
    DRIVER_STOP,
    DRIVER_ADD,
    DRIVER_REMOVE,
    DRIVER_LIST,
    DRIVER_CALLS
};

/* Who an answer came from. */
enum verdict {
    VERDICT_PROVEN,   /* our container: its proof is right (or, without proof, its identity
                         matches) */
    VERDICT_MISROUTE, /* another container, or one that cannot prove itself */
    VERDICT_BALANCER, /* no container: the balancer's own 5xx */
    VERDICT_FAILED,   /* no whole answer: error tells */
};

/* One request to the container of an attempt and what came back. Idle until message_send. */
struct message {
    struct attempt *attempt;
    struct pool_request *request;
    enum op_state state;
    char nonce[PROOF_NONCE_SIZE];
    bool direct;
    bool anonymous, nameless;
    bool stranger; /* another session named itself: what was sent cannot have run here */
    enum verdict verdict;
    struct error error;
    bool sent, refused;
    int status;
    json_t *body; /* an object, or NULL */
};

/* How requests reach the container: a node of the balancer and its cookies, or its own address.
 */
struct route {
    bool confirmed;
    bool suspect; /* the balancer calls the target unhealthy: confirm before the next use */
    size_t node;
    struct cookie_set cookies;
    int64_t renew_at, retry_at;
    unsigned rounds, failures;
};

/* Whether the container lives. */
struct health {
    bool doubt;            /* something speaks against it, and it has not answered since */
    bool dead;             /* proven by refusals; the engine may not have noticed */
    int64_t since;         /* of the doubt */
    unsigned tries;        /* to hear of it since then */
    int64_t probe_at;      /* not before */
    int64_t refused_since; /* all probes since then were refused; 0: the last was not */
    struct message message;
};

enum step_result { STEP_PENDING, STEP_RUNNING, STEP_OK, STEP_SKIPPED, STEP_LOST };

struct cleanup {
    bool begun;
    enum step_result upload, deregister, drain, stop;
    struct message message; /* complete, its progress, or the plain contract's health */
    bool polling;           /* complete was accepted, or may have been: ask what became of it */
    bool asks_health;       /* message is the question of a plain container's health */
    bool doubtful;          /* a restored journal may not know that there are artifacts */
    int64_t upload_deadline, upload_retry_at, salvage_until, progress;
    unsigned upload_tries, deregister_tries, stop_tries;
    int64_t deregister_retry_at, stop_retry_at, stop_deadline, drain_deadline;
    struct op remove_op, stop_op;
};

/* What a container holds of credentials for the artifact store (core time). */
struct grants {
    struct grant *call;
    char *sealed; /* fetched, not handed over yet */
    int64_t sealed_expires;
    int64_t expires, renew_at; /* of what the container has; 0: nothing */
    int64_t retry_at;
    unsigned tries;
    struct error error;
    struct message message;
};

/* Execution ids, as hashes, that the container may have run. */
struct sent_ids {
    uint64_t *hashes;
    size_t count, capacity;
};

/* Under which a container was launched, for good: what it is called by, and its secret, derive
 * from it. */
struct identity {
    char session[ID_SIZE];
    unsigned number;
    int64_t idle_timeout_s; /* hearing nothing for longer, it ends itself */
};

struct attempt {
    TAILQ_ENTRY(attempt) entry;
    struct session *session;
    unsigned number; /* in its session, from 1 */
    struct identity identity;
    char key[KEY_SIZE];
    UT_hash_handle hh;
    char row_key[ID_SIZE + 12];
    uint8_t secret[PROOF_SECRET_SIZE];
    enum attempt_state state;
    int64_t since;
    bool dirty;
    uint64_t commit; /* the commit that holds its newest row */

    bool moved;     /* claimed, and its old rows may be in the journal: nothing is done in it */
    bool recovered; /* of an earlier life of the coordinator */
    bool adopted;   /* by its container's label: what was done there is in no other */
    bool orphan;    /* its container was found without an owner and is being closed */
    bool has_place; /* kept for it by the balancer */
    bool owed_place;    /* it had one in an earlier life, or was about to */
    bool refused;       /* it was never launched, and leaves no trace */
    char *prepared;     /* the launch's bytes, until the container is known */
    char progress[160]; /* what a long launch is at */
    bool launched;      /* container is known */
    struct container container;
    bool died, in_order; /* in_order: by itself, when it had uploaded */
    char cause[128];
    bool registered;    /* a target may exist */
    char *target_group; /* where, once that was decided; NULL: the balancer finds it */
    enum target_state target;
    char target_reason[48];
    bool direct; /* proven on its own address */
    bool touch_durable;
    bool touched; /* something was executed or staged: there may be artifacts */
    bool told;    /* in this life its container told what it has */
    struct pool *pool;
    struct route route;
    int64_t contact;   /* last answer to a request that named the session */
    int64_t completed; /* executions that the container has finished, as far as we know */

    struct health health;
    int64_t lived; /* since then its container serves; 0: it never did in this life of ours */
    bool noting; /* what is sent to it under a caller's id is in its row: it can be replaced */
    struct sent_ids sent;
    struct grants grants;
    bool claimed, synced; /* it has its environment, its input */
    bool sync_told;       /* somebody who cannot prove himself says that he has the input */

    struct op launch_op, add_op;
    int64_t launch_began;   /* in this life of ours; 0: it did not */
    struct message message; /* of the step under way */
    unsigned tries, unreachable;
    int64_t retry_at, start_deadline;

    struct sweep *sweep; /* the one that it waits for, or NULL */
    int64_t sweep_joined, sweep_at;
    uint64_t probes_before;
    TAILQ_ENTRY(attempt) sweep_entry;

    struct cleanup cleanup;
};
TAILQ_HEAD(attempt_list, attempt);

/* One interval of a session's life, for documents and the timeline. */
struct span {
    const char *name;
    unsigned attempt;
    bool cleanup;
    int64_t start, end; /* end 0: still open */
    const char *result; /* cleanup: "running", "ok", "skipped", "lost" */
};
#define MAX_SPANS 96
#define CLEANUP_SPANS 16 /* of them, kept free for the end */

enum run_state { RAN_NO, RAN_YES, RAN_UNKNOWN };

struct execution {
    TAILQ_ENTRY(execution) entry;
    struct session *session;
    struct cleat_call *call; /* NULL once nobody waits for it */
    char id[ID_SIZE + 64];
    json_t *request; /* body of POST /execute */
    int64_t timeout_s, output_limit, begun, deadline;
    bool of_job;
    enum { ASKS_FOR_RECORD, ASKS_FOR_OUTPUT, ASKS_FOR_END } asks; /* of a job's (job.h) */
    bool cancel_told;
    bool named;        /* its id is the caller's … */
    bool noted;        /* … and remembered on its behalf */
    bool may_repeat;   /* … and it may have been sent before */
    bool sought_route; /* there was no confirmed one when it was its turn */
    enum run_state ran;
    struct error last; /* why the newest try brought no record */
    struct message message;
    unsigned tries;
    int64_t retry_at;
    bool settling; /* plain contract: the answer was lost, the container may still be at it */
};
TAILQ_HEAD(execution_list, execution);

/* On its way into the artifact store. */
struct input {
    char *url;           /* NULL: there is none */
    char place[ID_SIZE]; /* in the store: whose input it is copied as; "": not yet */
    bool done, shown;
    struct child *child; /* copies */
    struct lines *lines;
    int64_t files;
    unsigned tries;
    int64_t retry_at;
    struct error error; /* why the newest try failed, here or in the container */
};

/* Of what a class makes, hashes: the program in the container, and all else. */
struct recipe {
    uint64_t program, place;
};

/* Of a session that nobody has asked for yet. */
struct warm {
    TAILQ_ENTRY(warm) entry;
    struct session *session;
    struct recipe recipe; /* by which it was made */
    int64_t ttl_s;        /* drawn when it was made */
    int64_t lifetime_s;   /* that its container gives to who claims it */
};

/* The warm containers of a class. */
#define WARM_SLOTS 6
struct warm_pool {
    TAILQ_HEAD(, warm) sessions;
    struct recipe recipe; /* of the class as it is now */
    uint64_t hits, misses;
    int64_t slot;               /* of time, the present one */
    unsigned needs_now;         /* of containers, in it … */
    unsigned needs[WARM_SLOTS]; /* … and in those before it */
    int64_t start_ms;           /* from launch to READY, a mean; 0: not known */
    unsigned failures;          /* rows of failed launches, since one worked */
    int64_t failed_at, retry_at;
    struct task task;
    struct timer timer;
};

/* The events of one session (event.h), by their numbers: sent are in a commit under way,
 * durable in the journal, shown to readers. */
struct event_log {
    struct event_ring ring;
    uint64_t sent, durable, shown;
    uint64_t in_doubt; /* up to this commit none shows any: one of them failed */
};

/* Where a session stands among all that wait, and among those of its class, … */
struct session_rank {
    unsigned all, in_class, in_tenant, with_user; /* from 1 */
};

struct context {
    char *tenant, *user, *thread, *run, *parent;
};

struct session {
    struct cleat *core;
    struct group *group;
    char id[ID_SIZE];
    char *request_id;
    char *request_key; /* tenant "\n" request id */
    char *class_name;  /* a closed session's class may be configured no longer */
    struct context context;
    struct session *parent; /* NULL: none, or not found yet */
    TAILQ_HEAD(, session) children;
    TAILQ_ENTRY(session) sibling;
    struct warm *warm; /* NULL: somebody asked for it */
    char *
        parameters; /* canonical JSON of what was asked for: another create must ask the same */
    json_t *env;    /* object or NULL */
    bool env_lost;  /* there was one, but adoption did not bring it back */
    struct input input;
    struct job *job; /* NULL: it is none */
    int64_t create_timeout_s, idle_timeout_s, max_lifetime_s, exec_timeout_s;

    enum session_state state;
    int64_t created, opened, ready, closing, closed; /* core time, ms; 0: not yet */
    int64_t used;                                    /* last execution or keepalive */
    struct error error;
    char stop_reason[32];
    bool dirty;
    bool stored;        /* the journal holds it … */
    bool ready_durable; /* … and that it was ready */
    uint64_t commit;
    bool counted; /* among the closed ones */

    struct tenant *tenant;
    struct tenant_user *user;     /* while it waits or runs on his account */
    struct line *line;            /* in which it waits, or NULL */
    uint64_t order;               /* of its creation */
    int64_t queued_at, queued_ms; /* since when it waits, how long it did before */
    bool has_container_place;     /* of daemon and class */
    bool has_owner_place;         /* of tenant and user */
    struct session_rank rank;     /* while it waits (position.h) */
    unsigned told_position;       /* by the newest event, or that it began with */

    struct task task;
    bool adopted;    /* its container said more than the journal knew (adopt.h) */
    char unfit[100]; /* of an adopted one: why it can only close; "": it can go on */

    struct timer timer;
    bool again;
    int64_t wake_at; /* earliest moment a step asked for; 0: none */

    struct attempt_list attempts;
    struct attempt *attempt;          /* the current one, NULL between attempts */
    unsigned attempts_used, failures; /* a lack of capacity is no failure … */
    unsigned refusals;                /* … and counted on its own, since the last launch */
    bool need_noted;                  /* that it needs a container is counted (warm.h) */
    int64_t replacing;     /* since then its dead container is replaced; 0: it is not */
    unsigned replacements; /* that were live */
    char waiting_for[192]; /* for people; "": nothing out of the ordinary */
    int64_t launch_at;
    json_t *attempt_error; /* of the newest attempt that failed, as documents have it, or NULL */

    struct execution_list executions;
    struct execution *running;
    unsigned queued;
    uint64_t executed, executions_failed, probes, misroutes;
    uint64_t executed_before; /* of them, in containers that were replaced */

    struct event_log events;
    char events_key[ID_SIZE + 8]; /* of the row that counts them */
    struct span *spans;           /* at most MAX_SPANS */
    size_t span_count, span_capacity;
    TAILQ_HEAD(, cleat_call) calls;

    TAILQ_ENTRY(session) entry;        /* all, oldest first */
    TAILQ_ENTRY(session) part_entry;   /* those that are over, or those that are not … */
    TAILQ_ENTRY(session) tenant_entry; /* … of its tenant */
    TAILQ_ENTRY(session) queue_entry;  /* of its tenant's, while it waits */
    TAILQ_ENTRY(session) line_entry;
    TAILQ_ENTRY(session) journal_entry;
    TAILQ_ENTRY(session) mark_entry;
    bool in_journal; /* something of it waits for the turn's commit */
    UT_hash_handle hh, hh_request;
};
TAILQ_HEAD(session_list, session);
TAILQ_HEAD(tenant_list, tenant);

/* A class at work: its runtime, its balancer, and a sweep for each of the balancer's target
 * groups. */
struct group {
    struct cleat *core;
    struct class *class;
    const struct runtime_ops *runtime_ops;
    struct runtime *runtime;
    char *engine; /* class_engine() */
    const struct balancer_ops *balancer_ops;
    struct balancer *balancer;
    struct sweep **sweeps;
    size_t sweep_count;
    bool unconfined;   /* a container said that its user code is not isolated */
    unsigned arriving; /* attempts on their way to ROUTING */
    /* By state; warm sessions are not among the former. */
    unsigned session_counts[SESSION_STATES], attempt_counts[ATTEMPT_STATES];
    unsigned places_owed;
    struct metrics *metrics;
    unsigned running, queued, ranked; /* sessions (queue.h) */
    struct pace pace;
    unsigned refusals;           /* in a row: its engine has no room … */
    int64_t refused_at, room_at; /* … and is tried again then, … */
    int64_t tried;               /* … and was last then, by core->served; */
    int64_t offer_s; /* until then a warm container is there for who lives no longer */
    struct listing *listing;
    uint64_t listed;   /* number of the newest listing that was whole */
    char trouble[160]; /* why the newest listing failed; "": it did not */
    struct breaker breakers[DRIVER_CALLS];
    struct warm_pool warm;
};

/* What the journal says of itself (past.h). */
struct past {
    int64_t created;              /* the database, core time; 0: before everything */
    char newest[ID_SIZE];         /* session that it ever held; "": none */
    int64_t gap_from;             /* what was made from then until the start is of lost lives */
    int64_t unlisted_from;        /* the same, for a start before all is listed; or INT64_MAX */
    bool gap_stored;              /* the row has it */
    int64_t trusted_at;           /* core time: an operator said that nothing is missing */
    int64_t doubt_from, doubt_to; /* lives of that time may be missing; to 0: none is */
};

/* Who gets no new sessions. */
struct drain {
    bool all;
    json_t *tenants; /* object: a member for each */
    struct task task;
    void (*closed)(void *arg); /* not NULL: all are being closed, this one waits for the end */
    void *arg;
    bool told; /* it was called */
};

/* Jobs with output that no mark tells of yet (job_mark.h). */
struct job_marks {
    TAILQ_HEAD(, session) sessions;
    struct timer timer;
    int64_t next; /* not before then */
};

/* While commits fail. */
struct outage {
    struct error error; /* of the newest that failed */
    int64_t since, told;
    unsigned failures; /* in a row */
    struct timer retry;
    bool due; /* the next turn commits */
};

/* The events of all, in the order in which they were shown (event.h). */
struct events {
    struct event_ring shown;
    struct event_log own;         /* those of no session */
    size_t bytes;                 /* in memory */
    uint64_t reserved, reserving; /* of the numbers in shown: durably, and wanted */
    uint64_t life, life_durable;  /* of the numbers of tenants (event_tenant.h) */
    struct tenant_events *tenants;
    bool held; /* some wait for numbers */
    TAILQ_HEAD(, cleat_events) readers;
    unsigned reading;    /* how many they are */
    uint64_t slow, gaps; /* readers that were ended for that, gaps that they were told of */
};

struct counters {
    uint64_t launches, misroutes, commits, commits_failed;
    uint64_t admissions, returns, queue_timeouts; /* returns: from OPENING to QUEUED */
    uint64_t refused[LIMITS];
};

struct cleat {
    struct loop *loop;
    struct http_client *client;
    struct aws *aws;
    unsigned copies; /* of inputs, under way */
    const struct store_ops *store_ops;
    struct store *store;
    bool store_failing; /* the newest commit failed */
    struct outage outage;
    struct cleat_config *config;
    struct settings *settings;
    uint8_t master[PROOF_SECRET_SIZE];
    int64_t clock_offset; /* core time = monotonic time + this: steady, and close to Unix time;
                              kept over restarts (clock.h) */
    int64_t started;

    struct group *groups;
    size_t group_count;
    unsigned listing;  /* classes whose first listing is not done */
    uint64_t listings; /* begun so far */
    struct reaper *reaper;
    struct past past;

    struct session_list sessions;
    struct session_list open, over; /* of them: oldest first; in the order of their end */
    struct session *by_id, *by_request;
    struct attempt *by_key;
    unsigned admitted, queued, closed; /* sessions that hold a place, wait, are over */

    struct tenant *tenants;     /* by name (queue.h) */
    struct tenant_list active;  /* with sessions that run or wait */
    struct tenant_list waiting; /* with sessions that wait; the next one's turn first */
    int64_t served;             /* the newest turn */
    uint64_t order;             /* of the newest session */
    bool ranked;                /* what sessions say of their rank holds */
    struct pace pace;
    struct task admission_task;
    struct timer admission_timer;
    bool admission_due;

    TAILQ_HEAD(, session) journal; /* with changes of this turn */
    TAILQ_HEAD(, commit) commits;  /* in flight */
    TAILQ_HEAD(, note) notes;
    struct task noted; /* a caller's note alone makes no turn, whose end commits it */
    struct drain drain;
    uint64_t commit_sent, commit_durable;
    TAILQ_HEAD(, dropped) dropped_jobs; /* whose files are being removed */
    struct timer drop_jobs, purge;
    bool purging;                        /* a commit that forgets sessions is in flight */
    TAILQ_HEAD(, cleat_call) free_calls; /* calls without a session (errors to deliver) */
    struct counters counters;
    struct events events;
    struct job_marks marks;
    struct timer moves; /* in the queue (moves.h) */
};

/* Core time, ms: steady as the monotonic clock, and close to Unix time. */
int64_t core_now(const struct cleat *);
struct session *core_find(const struct cleat *, const char *id);             /* NULL: none */
struct group *core_find_group(const struct cleat *, const char *class_name); /* NULL: none */
struct session *core_find_request(const struct cleat *, const char *tenant,
                                  const char *request_id);
bool core_uses_aws(const struct cleat *);
struct attempt *core_find_attempt(const struct cleat *,
                                  const char *key); /* by its launch key */

#endif
