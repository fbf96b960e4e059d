/* What the commands of `cleat` share: exit codes, one HTTP client, errors, ids. */
#ifndef CLEAT_CLEAT_CLI_H
#define CLEAT_CLEAT_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "http/client.h"
#include "loop/loop.h"

/* Part of the interface: cleat(1), EXIT STATUS. */
enum exit_code {
    EXIT_FINE,
    EXIT_FAILED,      /* user code failed; isolation: a conflict */
    EXIT_USAGE,       /* also an ambiguous id */
    EXIT_ERROR,       /* repeating the command is pointless */
    EXIT_RETRYABLE,   /* the same command may succeed later */
    EXIT_UNREACHABLE, /* nobody answers on the socket */
    EXIT_NOT_FOUND,
};

struct cli {
    const char *socket;
    bool json; /* documents as the API gave them */
    struct loop *loop;
    struct http_client *client;
    struct http_share *share;
    size_t pending; /* calls without an answer */
    bool answered;  /* cleatd was there: one that is away now may be restarting */
};

struct command {
    const char *name, *arguments, *help;
    int (*run)(struct cli *, int argc, char **argv); /* argv[0] is the command's name */
};

int cmd_create(struct cli *, int argc, char **argv);
int cmd_exec(struct cli *, int argc, char **argv);
int cmd_ps(struct cli *, int argc, char **argv);
int cmd_show(struct cli *, int argc, char **argv);
int cmd_kill(struct cli *, int argc, char **argv);
int cmd_drain(struct cli *, int argc, char **argv);
int cmd_reap(struct cli *, int argc, char **argv);
int cmd_wait(struct cli *, int argc, char **argv);
int cmd_status(struct cli *, int argc, char **argv);
int cmd_isolation(struct cli *, int argc, char **argv);
int cmd_timeline(struct cli *, int argc, char **argv);
int cmd_events(struct cli *, int argc, char **argv);
int cmd_job(struct cli *, int argc, char **argv);

/* Says what is wrong with the command line and gives EXIT_USAGE. */
int usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A whole number within min..max, else an error is said. */
bool read_number(const char *option, const char *text, int64_t min, int64_t max, int64_t *out);
/* The same of a time in seconds, which may end in s, m or h. */
bool read_seconds(const char *option, const char *text, int64_t min, int64_t max, int64_t *out);

#endif
