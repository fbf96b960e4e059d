/* Simulated containers: a process started by child_spawn that follows the container contract.
 */
#ifndef SIMULATION_CONTAINER_H
#define SIMULATION_CONTAINER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "http/proof.h"
#include "network.h"

enum execution_state { EXECUTION_RUNNING, EXECUTION_DONE };

struct execution {
    const char *id,
        *request; /* the code or argv as text: another body under the same id is refused */
    const char *stdout_text;
    int64_t num, started_ms, ends_ms, takes_ms;
    unsigned lines; /* that it says (executor_output.c) */
    enum execution_state state;
    bool fails, artifact, cancelled, timed_out;
    unsigned runs, coordinator_life; /* started by which life of cleat */
    struct waiter *waiters;
    struct container *container;
    struct execution *next;
};

enum upload_state { UPLOAD_NONE, UPLOAD_RUNNING, UPLOAD_DONE, UPLOAD_FAILED };

struct container {
    unsigned index; /* order of the spawns; also names it in the log */
    pid_t pid;
    const char *key; /* name of its workspace */
    const char *session, *attempt, *secret_hex, *workspace;
    char ip[46], address[64];
    uint16_t port;
    uint8_t secret[PROOF_SECRET_SIZE];
    bool plain;   /* of the plain contract: proves nothing */
    bool planted; /* not by cleat */
    bool remote;  /* an engine of its own time started it: perhaps long after it was asked to */
    bool leased;  /* a static host: cleat chose the address */
    bool alive, listening, hung;
    bool looks_ill;       /* to health checks alone */
    int64_t heard_ms;     /* when it last heard of its session */
    bool ending;          /* SIGTERM came */
    const char *poses_as; /* user code answers in its place and claims this session id */
    int64_t spawned_ms, ended_ms;
    int exit_status; /* as of waitpid(2) */

    struct execution *executions;
    int64_t executions_done;
    unsigned artifacts,
        uploaded;      /* files that executions made; of these in the artifact store */
    const char *claim; /* body of /session/claim */
    unsigned inputs;   /* files of its input that it has fetched */
    bool synced;       /* all of them */
    enum upload_state upload;
    int64_t uploaded_ms; /* when it was done */
    const char *upload_nonce;
    struct waiter *upload_waiters;
    bool complete_begun, confirmation_read;
    bool stop_asked;
    bool confirmed_to_cleat;       /* an answer that says "uploaded" reached cleat */
    struct held *held, **held_end; /* requests that wait while it hangs */

    struct child_watch *watch; /* cleat's child object, NULL: nobody watches */
    void *engine;              /* what the engine that started it knows it by */
    void (*on_end)(struct container *);
    struct container *next;
};

extern struct container *containers; /* every container of this world, oldest first */

struct launch_order {
    const char *session, *attempt, *secret, *listen, *workspace, *key;
    bool remote, leased, planted;
};

void containers_begin(void);
/* Started by nobody that is known: of that owner, with a file to upload, and targets or not. */
struct container *container_plant(const char *owner, const char *session, unsigned attempt,
                                  const char *address, bool with_targets);
void container_give_artifact(struct container *); /* as if something had run in it */
struct container *container_start(const struct launch_order *); /* draws its fate */
struct container *container_at(const char *ip,
                               uint16_t port); /* alive, listening or not; or NULL */
struct container *container_of_session(
    const char *session); /* alive: of its newest attempt, the youngest; or NULL */
void container_signal(struct container *, int signo);
void container_end(struct container *, int exit_status);
void container_end_first(void *unused);       /* for world_at */
void container_exit_soon(struct container *); /* by itself */
void container_hang(struct container *, bool hung);
void container_refuse(struct container *, bool refuses); /* connections */
unsigned containers_alive(void);

/* A request arrives: it is answered later, or never. */
void container_receive(struct container *, struct sim_request *);
bool container_health_check(const struct container *); /* what a balancer's GET /health finds */
bool container_runs(const struct container *);         /* an execution is under way */

/* What the class of the world's scenario starts. */
struct container_habits {
    bool plain, no_respond_async;
    int64_t start_min_ms, start_max_ms, upload_min_ms, upload_max_ms;
    int64_t artifacts_down_until_ms; /* the artifact store is out of reach until then */
    bool artifacts_hang;             /* out of reach means: no answer, instead of an error */
    unsigned posing;                 /* in 10,000: user code takes the port and poses */
};
extern struct container_habits container_habits;

/* executor_sync.c */
void executor_sync(struct container *, struct sim_request *);

/* executor_run.c */
void executor_execute(struct container *, struct sim_request *);
void executor_record(struct container *, struct sim_request *, const char *id_and_what);
const char *executor_record_of(const struct container *, const struct execution *);
void executor_output(struct container *, struct sim_request *, struct execution *,
                     const char *query);
void executor_complete(struct container *, struct sim_request *);
void executor_upload_status(struct container *, struct sim_request *);
void executor_begin_upload(struct container *, const char *nonce);
/* The running one, cancelled; false: there is none. */
bool executor_end_execution(struct container *);
void executor_break_waiters(struct container *); /* it died: nobody gets an answer */
struct execution *executor_find(const struct container *, const char *id);

/* executor.c: answers leave with who they are from, and a proof when the request had a nonce */
void executor_answer(struct container *, struct sim_request *, int status, const char *body);
void executor_answer_error(struct container *, struct sim_request *, int status,
                           const char *code, const char *message);

#endif
