/* The simulated world: virtual time, one stream of chance, one log, and what went wrong.
 *
 * Everything below the session core and the drivers (clock, HTTP transport, child processes,
 * Unix sockets, journal) is implemented by this directory at link time. The world outlives the
 * coordinator: a crash throws the coordinator away and leaves containers, balancers, files and
 * journal as they are.
 *
 * There is one world at a time, in the global `world`; all memory that belongs to it comes from
 * world_alloc and friends and goes away with world_end, so that a late event never meets a
 * freed object. Nothing is ever ordered by address: the same seed gives the same log, byte for
 * byte. */
#ifndef SIMULATION_WORLD_H
#define SIMULATION_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "loop/timer.h"

#define WORLD_EPOCH_MS INT64_C(1700000000000) /* Unix time at virtual time 0 */
#define FOREVER INT64_MAX

/* Chances in 10,000; each is drawn at every place where it can strike, while now < until_ms. */
struct faults {
    int64_t until_ms;
    unsigned http_refused, http_lost, http_answer_lost, http_late, http_doubled, http_lying;
    unsigned http_truncated, http_cut_body, http_5xx;
    unsigned ask_refused, ask_lost, ask_answer_lost, ask_late, ask_truncated, ask_nonsense;
    unsigned spawn_fails, spawn_dies, spawn_never_listens, spawn_slow, spawn_hangs,
        spawn_dies_later;
    unsigned commit_fails, commit_crash;
    unsigned point_crash; /* at every point */
    unsigned file_fails, remove_fails;
    unsigned maker_hangs; /* of a directory of artifacts */
    unsigned stage_fails, stage_dies, stage_slow; /* the copy of an input */
    unsigned sync_fails, sync_short, sync_slow;   /* /file-sync of a container */
};

/* What a sabotage plants, so that each invariant is seen to be able to fail. */
enum sabotage {
    SABOTAGE_NONE,
    SABOTAGE_SHARED_CONNECTION, /* I1: the transport hands a session another one's connection */
    SABOTAGE_SWAPPED_COOKIE,    /* I2: an execution leaves with a cookie that nobody proved */
    SABOTAGE_FORGED_RESULT,     /* I2: a record is believed that the container never made */
    SABOTAGE_SAME_ADDRESS,      /* I3: a container is started on a live one's address */
    SABOTAGE_FALSE_UPLOAD,      /* I4: "uploaded", and nothing is */
    SABOTAGE_IMMORTAL,          /* I5: a killed container stays */
    SABOTAGE_STALE_TARGET,      /* I5: a deleted target stays */
    SABOTAGE_RUNS_TWICE,        /* I6: an execution id runs again */
    SABOTAGE_AMNESIA,           /* I7: the journal forgets which request ids are blocked */
    SABOTAGE_SILENCE,           /* I8: a commit is never done */
    SABOTAGE_OPEN_WALL,         /* I9: a stranger asks with the owner's tenant */
    SABOTAGE_SPIN,              /* I10: an event that comes back at once, for ever */
    SABOTAGE_FORGOTTEN_TOKEN,   /* I6: RunTask does not know its client token again */
    SABOTAGE_LASTING_TASK,      /* I5: a task is said to be stopped, and goes on */
    SABOTAGE_LISTED_TARGET,     /* I5: a deregistered target is listed for ever */
    SABOTAGE_LATE_REMOVAL,      /* I3: a deregistration comes again and again */
    SABOTAGE_UNSIGNED,          /* AWS: nothing is signed */
    SABOTAGE_LASTING_BOX,       /* I5: the engine forgets a container that goes on */
    SABOTAGE_LASTING_LEASE,     /* I5: a host says that it is free, and its container goes on */
    SABOTAGE_STRANGERS_KEYS,    /* I2: a session is given what was sealed for another one */
    SABOTAGE_LOST_INPUT,        /* INPUT: a container has less than it says */
    SABOTAGE_BLIND_LISTING,     /* I5: nothing is listed that no row knows */
    SABOTAGE_LOST_PLACE,        /* PLACES: one is given back that nobody had */
    SABOTAGE_COUNT
};

/* One cleat with its owner's name, journal and state directory, through all its restarts. There
 * are two in some worlds, each with a crash of its own. */
struct instance {
    unsigned index;
    const char *owner, *state_dir, *address_range; /* NULL: the default */
    struct cleat *cleat;   /* NULL while it is down */
    struct loop *loop;     /* NULL while it is down */
    unsigned life;         /* which start of any instance this is */
    int64_t since_ms;      /* of that start */
    int64_t wall_shift_ms; /* how wrong its machine's wall clock is */
    int64_t booted_ms;     /* its machine's monotonic clock counts from there */
    struct disk *disk;
    struct instance *next;
};

struct world {
    uint64_t seed, random[4];
    int64_t now_ms;
    struct timer_heap events;
    struct instance *instances;
    struct instance *me;  /* on whose behalf the present event happens; events inherit it */
    bool frozen;          /* me is being thrown away: nothing it does has an effect */
    bool crash_due;       /* me crashes at the end of this turn */
    bool dirty;           /* containers, targets or connections changed in this turn */
    unsigned starts;      /* of instances */
    uint64_t points;      /* where a crash could have struck so far, and … */
    uint64_t crash_point; /* … where it does; 0: nowhere */
    struct faults faults;
    enum sabotage sabotage;
    /* what happened */
    uint64_t turns, turns_at_now, log_hash;
    FILE *log_file;
    char violation[512]; /* "" while all is well */
};

extern struct world world;

void world_begin(uint64_t seed);
void world_end(void);

/* Runs the next event or timer, then everything it woke. False: nothing will ever happen again,
 * or an invariant is violated. */
bool world_turn(void);
void world_run_until(
    int64_t at_ms); /* turns until then; time stands at at_ms unless violated */

void world_at(int64_t in_ms, void (*fn)(void *arg), void *arg);

struct instance *world_add_instance(const char *owner, const char *state_dir);

/* A place where a crash tells something: before an effect of me outside of it, after the effect
 * and before its answer, after the answer. Where it strikes, world.frozen is set. */
void world_point(const char *what);

uint64_t world_random(void);
int64_t world_pick(int64_t min, int64_t max); /* both included */
bool world_chance(unsigned in_10000);
bool world_fault(unsigned in_10000); /* world_chance while faults last */

/* Every world event is one line: virtual time, then the text. */
void world_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void world_last_lines(FILE *to);
/* The first violation is kept; the world stops turning. invariant: "I1" … */
void world_violate(const char *invariant, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* memory.c */
void *world_alloc(size_t size);    /* zeroed, lives as long as the world … */
void world_free(const void *data); /* … or until here; NULL is fine */
void world_free_all(void);
char *world_strdup(const char *s);
char *world_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* sim_loop.c */
int64_t sim_loop_next(const struct loop *); /* when it has something to do, or -1 */
void sim_loop_fire_timer(struct loop *);    /* the first due timer */
void sim_loop_drain(struct loop *);         /* run queue, turn end, deferred frees */
bool sim_loop_turned(const struct loop *);         /* something ran in the newest turn */
void sim_loop_poll(
    struct instance *); /* descriptors that are readable have their callback run */
/* Before a callback of the instance: it becomes me, and its turn has an end to be run. */
void sim_loop_enter(struct instance *);

#endif
