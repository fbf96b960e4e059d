/* Rows of the journal. A damaged one is an error, never a crash; what was read and written
 * again is the same ever after. Bytes: a session's row, then attempts' rows, a line each. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat.h"
#include "fuzz.h"
#include "session/admission.h"
#include "session/attempt.h"
#include "session/config.h"
#include "session/document.h"
#include "session/record.h"
#include "session/session.h"

static struct cleat core;
static struct group groups[2];

/* As much of a coordinator as rows are read into. */
static void set_up(void)
{
    static const struct balancer_ops no_balancer = {.name = "none"};
    if (core.config)
        return;
    core.config = cleat_config_new();
    must(cleat_config_set(core.config, "plain", "proof", "none", NULL, 0));
    core.settings = &core.config->settings;
    core.loop = loop_new(NULL);
    TAILQ_INIT(&core.sessions);
    TAILQ_INIT(&core.open);
    TAILQ_INIT(&core.over);
    TAILQ_INIT(&core.events.readers);
    TAILQ_INIT(&core.dropped_jobs);
    admission_init(&core);
    TAILQ_INIT(&core.journal);
    TAILQ_INIT(&core.commits);
    core.groups = groups;
    core.group_count = 2;
    for (size_t i = 0; i < 2; i++)
        groups[i] = (struct group){.core = &core,
                                   .class = &core.config->classes[i],
                                   .balancer_ops = &no_balancer,
                                   .engine = "process"};
}

static struct session *read_session(const char *row)
{
    struct error e = {0};
    struct session *s = session_from_row(&core, row, &e);
    if (!s) {
        fuzz_check_error(e.code, &e);
        must(TAILQ_EMPTY(&core.sessions) && !core.by_id && !core.by_request);
    }
    return s;
}

static struct attempt *read_attempt(const char *row)
{
    struct error e = {0};
    struct attempt *a = attempt_from_row(&core, row, &e);
    if (!a)
        fuzz_check_error(e.code, &e);
    return a;
}

static void check_session(const struct session *s)
{
    json_t *o;
    must(id_valid(s->id) && s->request_id && s->context.tenant && s->class_name &&
         s->parameters);
    must(s->state < SESSION_STATES && s->span_count <= MAX_SPANS);
    must(s->created >= 0 && s->used >= 0);
    must(core_find(&core, s->id) == s);
    must(core_find_request(&core, s->context.tenant, s->request_id) == s);
    must((o = session_document(s)) != NULL);
    json_decref(o);
}

static void check_attempt(const struct attempt *a)
{
    must(a->number >= 1 && a->number <= UINT16_MAX && a->state < ATTEMPT_STATES);
    must(a->recovered && strlen(a->key) < KEY_SIZE);
    must(!a->launched || strcmp(a->container.key, a->key) == 0);
    must(a->cleanup.upload == STEP_PENDING || a->cleanup.upload >= STEP_OK);
}

/* Reads a row that this program wrote and gives the one that it writes then. */
static char *again(const char *session, const char *attempt, char **attempt_again)
{
    struct session *s = read_session(session);
    must(s);
    struct attempt *a = attempt ? read_attempt(attempt) : NULL;
    must(!attempt || a);
    char *row = session_row(s);
    *attempt_again = a ? attempt_row(a) : NULL;
    session_free(s);
    return row;
}

static void check_stable(const char *session, const char *attempt)
{
    char *attempt_once, *attempt_twice;
    char *once = again(session, attempt, &attempt_once);
    char *twice = again(once, attempt_once, &attempt_twice);
    must(strcmp(once, session) == 0 && strcmp(twice, session) == 0);
    if (attempt)
        must(strcmp(attempt_once, attempt) == 0 && strcmp(attempt_twice, attempt) == 0);
    free(once);
    free(twice);
    free(attempt_once);
    free(attempt_twice);
}

static void read_rows(struct session *s, struct fuzz *f)
{
    char *session, *attempt = NULL;
    check_session(s);
    while (f->left > 0) {
        char *line = fuzz_line(f);
        struct attempt *a = *line ? read_attempt(line) : NULL;
        free(line);
        if (!a)
            continue;
        check_attempt(a);
        check_session(s);
        free(attempt);
        attempt = attempt_row(a);
    }
    session = session_row(s);
    session_free(s);
    check_stable(session, attempt);
    free(session);
    free(attempt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    set_up();
    char *line = fuzz_line(&f);
    struct session *s = read_session(line);
    free(line);
    if (s)
        read_rows(s, &f);
    must(TAILQ_EMPTY(&core.sessions) && groups[0].arriving == 0 && groups[1].arriving == 0);
    return 0;
}
