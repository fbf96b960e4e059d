/* libcleat: a session coordinator on the caller's libevent loop.
 *
 * Give every session its own container, a proven sticky route to it, executions, and a cleanup
 * that loses nothing. Requests and answers are JSON texts, the same documents as cleatd's HTTP
 * API (cleatd(8)), so that a gateway can hand them on. libcleat(3) has a tour.
 *
 * Rules: everything runs on the thread that runs the event_base. Strings passed in are copied;
 * strings passed to callbacks are valid during the call. A callback fires exactly once, from
 * the loop, never before the function that took it returns, unless the call is cancelled or
 * cleat_free comes first. */
#ifndef CLEAT_H
#define CLEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct event_base;
struct cleat;
struct cleat_config;
struct cleat_call; /* one call under way */

struct cleat_error {
    const char *code; /* stable: "misroute", "request_id_closed", … (cleatd(8), API ERRORS) */
    const char *message; /* for a person */
    int http_status;     /* what cleatd answers */
    bool retryable;      /* the same request may succeed later */
    bool admitted;       /* a session exists for the request */
    const char *ran;     /* executions: "no", "yes" or "unknown"; else NULL */
    const char *reason;  /* tells causes of one code apart; or NULL */
    int retry_after_s;   /* when it is expected to; 0: nothing is known */
};

/* error NULL: document is the answer. Else document is NULL. */
typedef void cleat_done_fn(void *arg, const struct cleat_error *error, const char *document);
/* level: 0 error, 1 warning, 2 info, 3 debug. line: key=value pairs. */
typedef void cleat_log_fn(void *arg, int level, const char *line);

/* ---- configuration ---- */

/* Options have defaults; cleatd.conf(5) lists them. A class named "default" always exists. */
struct cleat_config *cleat_config_new(void);
void cleat_config_free(struct cleat_config *);
/* class_name NULL: an option of the coordinator; else of that class, which is made on first
 * mention. Lists are comma-separated. False: why (size bytes) says what is allowed. */
bool cleat_config_set(struct cleat_config *, const char *class_name, const char *key,
                      const char *value, char *why, size_t size);
/* Checks what one option alone cannot show (a class with `haproxy` names its sockets, …). */
bool cleat_config_check(const struct cleat_config *, char *why, size_t size);
/* Calls fn for every option there is. live: cleat_reload takes it over. section: "" or "class";
 * type: "integer", "boolean", "choice", "string", "list"; range and fallback (the default) as
 * text. */
typedef void cleat_option_fn(void *arg, const char *section, const char *key, const char *type,
                             const char *range, const char *fallback, bool live,
                             const char *help);
void cleat_config_options(cleat_option_fn *fn, void *arg);

/* Reads what the configuration names at its engines (an AWS account: target groups, load
 * balancer, task definition, bucket, role) and tells what would hurt and what cures it. level:
 * 0 error, 1 warning. config is borrowed and was checked. done is called once, within half a
 * minute, also when nobody answers; classes without such engines need no network and no time.
 * Free it afterwards, or earlier, which cancels it; not from within a callback. */
struct cleat_examination;
typedef void cleat_finding_fn(void *arg, const char *class_name, int level, const char *problem,
                              const char *cure);
struct cleat_examination *cleat_config_examine(struct event_base *base,
                                               const struct cleat_config *config,
                                               cleat_finding_fn *finding,
                                               void (*done)(void *arg), void *arg);
void cleat_examination_free(struct cleat_examination *);

/* ---- the coordinator ---- */

void cleat_set_log(cleat_log_fn *fn, void *arg, int level); /* process-wide; NULL: stderr */
const char *cleat_version(void);

/* Opens the state directory, loads the journal, adopts what it finds and goes on with it. base
 * is borrowed; config is taken over, also on failure. NULL: why (size bytes) says what is
 * wrong. */
struct cleat *cleat_new(struct event_base *base, struct cleat_config *config, char *why,
                        size_t size);
/* Takes over from config, while sessions run, the options that may change then (cleatd.conf(5)
 * says which); no session notices. changed is called for each option that differs, before this
 * returns: live, and it holds from now on, or it needs a restart. key NULL: the whole class;
 * from NULL: it is new, to NULL: it is gone. config is taken over, also on failure: false, why
 * says what is wrong, and nothing changed. */
typedef void cleat_change_fn(void *arg, const char *class_name, const char *key,
                             const char *from, const char *to, bool live);
bool cleat_reload(struct cleat *, struct cleat_config *config, cleat_change_fn *changed,
                  void *arg, char *why, size_t size);
/* Leaves containers and sessions to the next start. Calls under way never call back. Not from
 * within a callback of this library. */
void cleat_free(struct cleat *);

/* ---- sessions ---- */

/* tenant: NULL is the operator, who sees all; else another tenant's sessions do not exist
 * (404). */

/* Whether a tenant may be called that; else why (size bytes) says what is wrong. */
bool cleat_tenant_valid(const char *name, char *why, size_t size);
/* Whether there is such a session for that tenant. */
bool cleat_sees(const struct cleat *, const char *tenant, const char *session);

/* request: {"request_id","tenant","user","thread","run","parent","class",
 *           "resources":{"cpu_milli","memory_mb","gpu","labels":{…}},"env":{…},
 *           "create_timeout_s","idle_timeout_s","max_lifetime_s","exec_timeout_s","input",
 *           "no_queue"}. no_queue: refused when it would have to wait for a place.
 * Done when the session is committed, not when it is ready. The document is the session.
 * created in it tells a new session from one that this request id already had. tenant, user,
 * thread, run and parent never change; a child, whose parent is a session's id, has the first
 * four from its parent where the request does not say, and closes when its parent does. Without
 * class, resources choose one that has them. */
struct cleat_call *cleat_create(struct cleat *, const char *tenant, const char *request,
                                size_t len, cleat_done_fn *, void *arg);
/* Done when the session is ready (or can never be: error), or closed with closed = true. */
struct cleat_call *cleat_wait(struct cleat *, const char *tenant, const char *session,
                              bool closed, int64_t timeout_ms, cleat_done_fn *, void *arg);
/* request: {"code"} or {"argv":[…]}, and "execution_id","timeout_s","output_limit"
 * (bytes kept of each stream). The document is the container's record of the execution. One
 * execution runs at a time, others wait in order. */
struct cleat_call *cleat_execute(struct cleat *, const char *tenant, const char *session,
                                 const char *request, size_t len, cleat_done_fn *, void *arg);
/* Starts cleanup and is done when CLOSING is committed; cleat_wait(closed) tells when it ended.
 */
struct cleat_call *cleat_close(struct cleat *, const char *tenant, const char *session,
                               cleat_done_fn *, void *arg);
/* Takes no new sessions any more, of one tenant or (NULL) of all, and fails those that wait in
 * the queue: error `draining`. Those that are open go on, or with now are closed. It lasts,
 * also over a restart, until cleat_undrain with the same tenant. Done when that is committed;
 * the document is that of cleat_draining. */
struct cleat_call *cleat_drain(struct cleat *, const char *tenant, bool now, cleat_done_fn *,
                               void *arg);
struct cleat_call *cleat_undrain(struct cleat *, const char *tenant, cleat_done_fn *,
                                 void *arg);
/* {"all","sessions","queued","tenants":{NAME:{"sessions","queued"}}}: who is drained, and how
 * many of their sessions are not over. free() it. */
char *cleat_draining(struct cleat *);
/* Before cleat_free, to leave nothing: takes no new sessions, closes all that are open and
 * calls done when the last cleanup has ended. The next start takes sessions again. */
void cleat_close_all(struct cleat *, void (*done)(void *arg), void *arg);
/* Pushes the idle deadline out, as an execution does. */
struct cleat_call *cleat_keepalive(struct cleat *, const char *tenant, const char *session,
                                   cleat_done_fn *, void *arg);
/* Asks every class what it holds and closes the orphans among it at once, a few at a time.
 * request: {"dry_run": says only what it would do, "adopt": the journal is the truth, so that
 * orphans are closed that are held because it cannot speak for them}. The document is
 * {"orphans":[{"class","container","target","key","session","cause","action"}],"failed":
 * [{"class","error"}],…}. Done when all were asked. For the operator. */
struct cleat_call *cleat_reap(struct cleat *, const char *request, size_t len, cleat_done_fn *,
                              void *arg);
/* The caller is no longer interested; what was asked for goes on. The callback never fires. */
void cleat_call_cancel(struct cleat_call *);
/* The same, and what was asked for goes on no longer: the session that a cleat_create made, or
 * for which a cleat_wait waits, closes with stop_reason "cancelled". */
void cleat_call_abandon(struct cleat_call *);

/* ---- jobs: sessions that run one command and close; their id is the session's ---- */

/* request: what cleat_create takes, and {"name","argv":[…] or "code","stdin" or "stdin_base64",
 * "timeout_s"}. Done when it is committed; the document is the job. created in it tells a new
 * job from one that this request id already had, ended or not. */
struct cleat_call *cleat_job_submit(struct cleat *, const char *tenant, const char *request,
                                    size_t len, cleat_done_fn *, void *arg);
/* Done when its command has ended, whatever cleanup is still under way. */
struct cleat_call *cleat_job_wait(struct cleat *, const char *tenant, const char *job,
                                  int64_t timeout_ms, cleat_done_fn *, void *arg);
/* Ends what it runs; its output so far is kept, its files are uploaded. Done when that is
 * committed; harmless on one that has ended. */
struct cleat_call *cleat_job_cancel(struct cleat *, const char *tenant, const char *job,
                                    cleat_done_fn *, void *arg);
struct cleat_log_query {
    uint64_t after;     /* bytes of both streams together, in the order in which they came */
    const char *stream; /* "stdout", "stderr"; NULL: both */
    int64_t follow_ms;  /* waits that long for more, or for the end; 0: does not wait */
};
/* {"chunks":[{"offset","time","stream","data" or "data_base64"}],"next","ended","truncated"}: a
 * bounded piece of its output; next is where to go on, ended says that nothing follows. */
struct cleat_call *cleat_job_logs(struct cleat *, const char *tenant, const char *job,
                                  const struct cleat_log_query *, cleat_done_fn *, void *arg);

/* ---- events ---- */

/* What happens to sessions (cleatd(8), EVENTS), in order: to one, or NULL, to all of a tenant
 * (NULL: to all there are, and to the coordinator), each in a numbering of its own. after: the
 * id of the last event that the caller has; CLEAT_EVENTS_NEW: it wants none of the past.
 * Without follow it ends when the caller has all. NULL: no such session. */
#define CLEAT_EVENTS_NEW (-1)
struct cleat_events;
struct cleat_event {
    uint64_t id; /* of a session: counted from 1 without a gap; else of its tenant, or of all */
    const char *code; /* "session.ready", …; "gap": those from, to are not kept any more; "end":
                         no more come, for the reason "closed", "all", "slow" or "forgotten",
                         and the subscription is freed */
    const char *document; /* {"id","session_id","seq","time","tenant","code","message",…} */
};
/* Called from the loop. False: no more for now, until cleat_events_resume; who is too far
 * behind then is ended as slow. It may cancel. */
typedef bool cleat_event_fn(void *arg, const struct cleat_event *);
struct cleat_events *cleat_events(struct cleat *, const char *tenant, const char *session,
                                  int64_t after, bool follow, cleat_event_fn *, void *arg);
void cleat_events_resume(struct cleat_events *);
/* The id after which it goes on. */
uint64_t cleat_events_position(const struct cleat_events *);
void cleat_events_cancel(struct cleat_events *); /* not after its end */

/* ---- documents: free() them; NULL: no such session ---- */

char *cleat_session(struct cleat *, const char *tenant, const char *session);
/* {"sessions":[…],"truncated"}: all that are not over and the newest 1,000 that are, oldest
 * first; truncated: there are more of those. */
char *cleat_sessions(struct cleat *, const char *tenant);
char *cleat_job(struct cleat *, const char *tenant, const char *job);
/* {"jobs":[…],"truncated"}: as cleat_sessions. state: only those in it; NULL: all. */
char *cleat_jobs(struct cleat *, const char *tenant, const char *state);
/* {"base_url","headers":{…},"expires_at"}: how a request of this session reaches its container.
 * NULL: why (may be NULL) says; "not_ready": it has no confirmed route now. */
char *cleat_route(struct cleat *, const char *tenant, const char *session,
                  struct cleat_error *why);
char *cleat_status(struct cleat *);
char *cleat_isolation(struct cleat *, const char *tenant);
/* Metrics in Prometheus' text format 0.0.4, for the operator. free() it. */
char *cleat_metrics(struct cleat *);
/* Whether the journal can be written, every driver answers and no drain of all is on; why as
 * one line, free(). */
bool cleat_ready(struct cleat *, char **why);

#ifdef __cplusplus
}
#endif
#endif
