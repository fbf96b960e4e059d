/* Reads what HAProxy's Runtime API answers (management guide, 9.3: "show servers state", "show
 * stat"). One question is any commands, then `show servers state BE`, then `show stat BE 4 -1`;
 * the answers follow each other, so the commands' own answers are what stands before the first
 * listing. */
#ifndef CLEAT_DRIVER_HAPROXY_STATE_H
#define CLEAT_DRIVER_HAPROXY_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct haproxy_server {
    const char *name;
    const char *ip;
    uint16_t port;
    bool maint;    /* forced or otherwise: gets no request */
    bool checked;  /* its checks are enabled */
    bool paused;   /* put into maintenance after it was enabled: checks do not run */
    bool rotating; /* gets requests */
    bool failing;  /* its last check failed */
    int64_t health, rise;
    int64_t sessions;  /* -1: unknown */
    const char *check; /* "L7OK", "L4CON", …; "" before the first check */
};

struct haproxy_state {
    struct haproxy_server *servers; /* by name */
    size_t count, rotating;
    int64_t largest_id;  /* the numbers that HAProxy tells its servers apart by */
    bool shallow_checks; /* some check looks at the connection only (L4OK) */
    char *text;          /* what the strings above point into */
};

/* ERR_PROTOCOL: garbled, truncated or not what was asked for. ERR_CONFIG: there is no such
 * backend, or the socket's level does not suffice. On an error *out is empty. */
enum error_code haproxy_state_read(struct haproxy_state *out, const char *backend,
                                   const char *answer, size_t len, struct error *e);
void haproxy_state_free(struct haproxy_state *);
const struct haproxy_server *haproxy_state_find(const struct haproxy_state *, const char *name);

/* The first refusal among the commands' answers as an error; ERR_NONE: none. What a repeated or
 * late command is told ("Already exists", "No such server", "still has connections") is no
 * refusal. */
enum error_code haproxy_refusal(const char *answer, size_t len, struct error *e);

/* Whether HAProxy takes it as a word of a command: letters, digits and "._:-". */
bool haproxy_name_valid(const char *name);

#endif
