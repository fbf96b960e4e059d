#include "driver/store_checkpoint.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/mem.h"

#define STEP_PAGES 1000   /* a pass each time that the log has grown by so many */
#define LARGE_PAGES 16000 /* finished although that holds up a commit */
#define HUGE_PAGES 64000  /* worth telling an operator */
#define CATCH_UP_PASSES 2
#define FRAME_HEAD 24 /* bytes before each page of the log (sqlite.org/fileformat2) */
#define RETRY_S 1
#define RETRY_MAX_S 30

struct checkpoint {
    sqlite3 *db; /* the thread's */
    int page_size;
    pthread_t thread;
    pthread_mutex_t writing; /* held by a commit, or while a large log is finished */
    pthread_mutex_t lock;    /* of what follows */
    pthread_cond_t changed;
    bool stopping;
    int pages, next; /* next: a pass is due when there are so many */
    unsigned failures;
    struct timespec retry_at; /* while failures > 0 */
    struct checkpoint_state state;
};

struct pass {
    int rc;
    int pages, copied; /* of the log, of those into the database */
};

static struct pass run_pass(struct checkpoint *c, int mode)
{
    struct pass p = {0};
    p.rc = sqlite3_wal_checkpoint_v2(c->db, NULL, mode, &p.pages, &p.copied);
    return p;
}

/* A log of which everything is copied is begun anew by the next commit. Under commits without a
 * pause that moment never comes: then a large one is finished while none can be made, for the
 * time of two flushes of little. Giving its space back takes longer, so only a huge one does.
 */
static struct pass copy_log(struct checkpoint *c)
{
    struct pass p = run_pass(c, SQLITE_CHECKPOINT_PASSIVE);
    for (int i = 0; p.rc == SQLITE_OK && p.pages >= LARGE_PAGES && i < CATCH_UP_PASSES; i++)
        p = run_pass(c, SQLITE_CHECKPOINT_PASSIVE);
    if (p.rc != SQLITE_OK || p.pages < LARGE_PAGES)
        return p;
    pthread_mutex_lock(&c->writing);
    struct pass last = run_pass(c, p.pages < HUGE_PAGES ? SQLITE_CHECKPOINT_RESTART
                                                        : SQLITE_CHECKPOINT_TRUNCATE);
    pthread_mutex_unlock(&c->writing);
    return last.rc == SQLITE_BUSY ? p : last; /* busy: somebody else reads it */
}

static void note_failure(struct checkpoint *c, const char *why)
{
    int64_t wait = c->failures < 5 ? RETRY_S << c->failures : RETRY_MAX_S;
    c->failures++;
    clock_gettime(CLOCK_MONOTONIC, &c->retry_at);
    c->retry_at.tv_sec += wait;
    mem_copy_string(c->state.trouble, sizeof c->state.trouble, why);
}

/* Not all may have been copied: a reader or a writer was in the way, which passes. */
static void note_pass(struct checkpoint *c, const struct pass *p)
{
    bool all = p->rc == SQLITE_OK && p->copied == p->pages;
    c->failures = 0;
    c->state.passes += p->rc == SQLITE_OK;
    c->state.trouble[0] = '\0';
    if (all && p->pages == 0)
        c->pages = 0; /* its space was given back */
    c->next = (all ? p->pages : c->pages) + STEP_PAGES;
    if (!all && c->pages >= HUGE_PAGES)
        mem_copy_string(c->state.trouble, sizeof c->state.trouble,
                        "another process reads the database and holds the log back");
}

static bool is_due(const struct checkpoint *c)
{
    struct timespec now;
    if (c->failures == 0)
        return c->pages >= c->next;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec >= c->retry_at.tv_sec;
}

static void *run(void *arg)
{
    struct checkpoint *c = arg;
    pthread_mutex_lock(&c->lock);
    while (!c->stopping) {
        if (!is_due(c)) {
            if (c->failures > 0)
                pthread_cond_timedwait(&c->changed, &c->lock, &c->retry_at);
            else
                pthread_cond_wait(&c->changed, &c->lock);
            continue;
        }
        pthread_mutex_unlock(&c->lock);
        struct pass p = copy_log(c);
        pthread_mutex_lock(&c->lock);
        if (p.rc == SQLITE_OK || p.rc == SQLITE_BUSY)
            note_pass(c, &p);
        else
            note_failure(c, sqlite3_errmsg(c->db));
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* Signals are for the threads of who uses this library. */
static int start_thread(struct checkpoint *c)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&c->thread, NULL, run, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

static void release(struct checkpoint *c)
{
    sqlite3_close(c->db);
    pthread_mutex_destroy(&c->writing);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->changed);
    free(c);
}

static void init_locks(struct checkpoint *c)
{
    pthread_condattr_t steady;
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_mutex_init(&c->writing, NULL);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, &steady);
    pthread_condattr_destroy(&steady);
}

static int take_number(void *number, int columns, char **values, char **names)
{
    (void)columns;
    (void)names;
    *(int *)number = atoi(values[0]);
    return 0;
}

struct checkpoint *checkpoint_start(const char *path, struct error *e)
{
    struct checkpoint *c = mem_alloc(sizeof *c);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, rc = 0;
    c->next = STEP_PAGES;
    init_locks(c);
    /* synchronous=NORMAL flushes the log before it is copied and the database after it */
    bool ok = sqlite3_open_v2(path, &c->db, flags, NULL) == SQLITE_OK &&
              sqlite3_exec(c->db, "PRAGMA synchronous=NORMAL; PRAGMA page_size", take_number,
                           &c->page_size, NULL) == SQLITE_OK;
    if (ok)
        rc = start_thread(c);
    if (ok && rc == 0)
        return c;
    error_set(e, ERR_STORE, "%s: checkpoints: %s", path,
              ok ? strerror(rc) : sqlite3_errmsg(c->db));
    release(c);
    return NULL;
}

void checkpoint_stop(struct checkpoint *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    release(c);
}

void checkpoint_enter_write(struct checkpoint *c)
{
    pthread_mutex_lock(&c->writing);
}

void checkpoint_leave_write(struct checkpoint *c)
{
    pthread_mutex_unlock(&c->writing);
}

void checkpoint_note_pages(struct checkpoint *c, int pages)
{
    pthread_mutex_lock(&c->lock);
    if (pages < c->pages) /* begun anew */
        c->next = STEP_PAGES;
    c->pages = pages;
    if (c->failures == 0 && pages >= c->next)
        pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

void checkpoint_get(struct checkpoint *c, struct checkpoint_state *out)
{
    pthread_mutex_lock(&c->lock);
    *out = c->state;
    out->bytes = (int64_t)c->pages * (c->page_size + FRAME_HEAD);
    pthread_mutex_unlock(&c->lock);
}
