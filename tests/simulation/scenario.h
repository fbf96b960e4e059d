/* One world with a script: set up, led to its end, and judged. */
#ifndef SIMULATION_SCENARIO_H
#define SIMULATION_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>
#include "life.h"
#include "world.h"

struct settings_of_world {
    unsigned lives, nodes;     /* no node: balancer direct */
    bool docker, ecs;          /* the runtime; else process … */
    unsigned static_hosts;     /* … or that many of these */
    bool own_role;             /* s3_role: credentials are handed over to each session */
    unsigned groups;           /* of an ALB in place of nodes */
    bool slots;                /* each for one target, behind a header */
    int64_t engine_restart_ms; /* when; 0: never */
    unsigned max_executions, max_sessions;
    unsigned max_queued, tenant_max_sessions, user_max_sessions, max_parallel,
        queue_timeout_s; /* 0: the default */
    unsigned users;      /* who make all lives; 0: each life has its own */
    bool random_picks, rehomes_cookies, own_cookies, plain, direct_never, tenants;
    bool closes_at_random, input, jobs;
    bool replace; /* on_death */
    unsigned warm_min, warm_max;
    int64_t warm_ttl_s;
    const char *command; /* NULL: the default */
    int64_t stagger_ms, linger_ms, cookie_age_s, check_interval_ms;
    int64_t salvage_limit_s, retention_s;
    int64_t crash_every_ms;      /* on average; 0: never */
    int64_t clock_jump_every_ms; /* the same */
    uint64_t crash_at_commit;    /* the n-th; 0: never */
    int64_t node_restart_ms;     /* when; 0: never */
    int64_t idle_timeout_s, max_lifetime_s;
    int64_t mute_from_ms,
        mute_to_ms; /* nobody answers on the Runtime API's sockets, traffic flows */
    bool reap_dry_run;
    const char *gather_ms, *gather_max_ms, *address_range;
    struct faults faults;
};

/* One world, and it again with a crash at each of its points, with two crashes for some,
 * with each of its commits refused, and with a disk that is full from each of them on. */
#define EACH_POINT 0x7fffffffu

struct scenario {
    const char *name, *help;
    void (*set)(struct settings_of_world *);
    void (*begin)(void); /* lives and hooks, instead of random lives; NULL: random */
    void (*judge)(void); /* at the end, after the invariants; may violate */
    unsigned repeat;     /* worlds per run of all scenarios, or EACH_POINT */
};

extern const struct scenario scenarios[];
extern const struct scenario claim_scenarios[];
extern const struct scenario cleanup_scenarios[];
extern const struct scenario crash_scenarios[];
extern const struct scenario death_scenarios[];
extern const struct scenario disk_scenarios[];
extern const struct scenario mute_scenarios[];
extern const struct scenario family_scenarios[];
extern const struct scenario job_scenarios[];
extern const struct scenario orphan_scenarios[];
extern const struct scenario static_scenarios[];
extern const struct scenario queue_scenarios[];
extern const struct scenario two_scenarios[];
extern const struct scenario warm_scenarios[];
const struct scenario *scenario_next(const struct scenario *); /* NULL: the first, or no more */
const struct scenario *scenario_find(const char *name);
extern const struct scenario scenario_random;
void set_random(struct settings_of_world *);
extern struct settings_of_world settings;

struct scenario_result {
    unsigned lives, crashes;
    uint64_t turns, log_hash, points, commits, probes, confirms, requests;
    int64_t virtual_ms;
    char violation[sizeof world.violation];
};

/* What is done to one world, beyond its scenario and seed. */
struct scenario_order {
    enum sabotage sabotage;
    FILE *log_file;       /* NULL: none */
    uint64_t crash_at;    /* the n-th point; 0: none */
    bool crash_again;     /* at one of the points after the restart */
    uint64_t fail_commit; /* the n-th, alone; 0: none */
    uint64_t full_commit; /* the n-th and all that follow for a while; 0: none */
};
extern struct scenario_order scenario_order;

/* Runs one world from its beginning to its end. */
void scenario_run(const struct scenario *, uint64_t seed, const struct scenario_order *,
                  struct scenario_result *out);

/* scenario_random.c */
void plan_draw(struct plan *); /* by settings */

/* scenario_jobs.c */
void plan_draw_job(struct plan *); /* in place of what a session would be */

/* scenario_drain.c */
void set_drain(struct settings_of_world *);
void begin_drained_lives(void);
void judge_drain(void);

/* scenario_engine.c */
void set_docker_away(struct settings_of_world *);
void begin_docker_away(void);
void judge_docker_away(void);
void set_mute_artifacts(struct settings_of_world *);
void begin_mute_artifacts(void);
void judge_mute_artifacts(void);
void set_docker_listed(struct settings_of_world *);
void set_haproxy_away(struct settings_of_world *);
void begin_haproxy_away(void);
void judge_haproxy_away(void);
void set_room_returns(struct settings_of_world *);
void begin_room_returns(void);
void judge_room_returns(void);

/* scenario_warm.c */
int64_t warm_figure(const char *key); /* what status says of the pool */
void warm_want(const char *what, int64_t found, int64_t wanted);

/* scenario_lost.c */
void set_lost(struct settings_of_world *);
void set_restored(struct settings_of_world *);
void set_restored_unseen(struct settings_of_world *);
void begin_lost(void);
void judge_lost(void);

#endif
