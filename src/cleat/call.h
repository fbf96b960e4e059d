/* One call of cleatd's API. Several may be under way at once. */
#ifndef CLEAT_CLEAT_CALL_H
#define CLEAT_CLEAT_CALL_H

#include "base/buf.h"
#include "cleat/cli.h"

struct call {
    struct cli *cli;
    struct http_exchange *exchange; /* NULL: not started or answered, or waiting for a retry */
    bool pending;
    char *method, *path, *body;  /* asked again when cleatd goes away in the middle */
    int64_t timeout_ms, lost_at; /* 0: it did not */
    struct timer retry;
    int status;          /* HTTP's; 0: no answer */
    char *text;          /* the answer as it came */
    json_t *document;    /* and parsed; NULL when it was no JSON object */
    enum exit_code exit; /* EXIT_FINE: status is 2xx and document is there */
    char *message;       /* else: "message (code)" */
};

/* body: NULL or a text, copied. Answers come while call_run_all runs. A call whose connection
 * breaks is repeated for a while: cleatd may be restarting, and every request here carries what
 * makes its repetition the same one (RFC 9110 section 9.2.2, or an id of its own). */
void call_start(struct call *, struct cli *, const char *method, const char *path,
                const char *body, int64_t timeout_ms);
void call_run_all(struct cli *); /* until no call is pending */
/* Both of the above with one call. */
void call_now(struct call *, struct cli *, const char *method, const char *path,
              const char *body, int64_t timeout_ms);
void call_clear(struct call *); /* cancels it if need be */

/* Says what failed on stderr ("cleat: WHAT: message (code)") and gives the exit code. */
int call_report(const struct call *, const char *what);
/* With --json: the document. */
void call_print(const struct call *);

/* Adds a parameter to a path, which may have some already; value NULL: none. */
void query_add(struct buf *path, const char *name, const char *value);

#define CALL_TIMEOUT_MS (30 * 1000)

#endif
