/* cleatd's configuration: its own options and the coordinator's, from one file and the command
 * line. */
#ifndef CLEAT_CLEATD_CONFIG_H
#define CLEAT_CLEATD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "cleat.h"
#include "cleatd/peers.h"

enum { LOG_TO_STDERR, LOG_TO_SYSLOG };
enum { SIGTERM_LEAVES, SIGTERM_DRAINS };
enum { SOCKET_MODE_0600, SOCKET_MODE_0660, SOCKET_MODE_0666 };

struct settings {
    char *socket; /* never "" after configuration_finish */
    int socket_mode;
    int log, log_level; /* log_level is an enum log_level */
    int on_sigterm;
    int64_t drain_timeout_s, max_connections, max_body_kb;
    char **peers;
    char *metrics_listen;
};

/* Where the file set an option: a problem of the whole names the line all the same. */
struct place {
    char *class_name, *key; /* class_name "": outside of any class */
    int line;
};

struct configuration {
    struct settings own;
    struct peers *peers;              /* the map of that name, once all is finished */
    struct cleat_config *coordinator; /* NULL once somebody took it over */
    char *state_dir;                  /* as configured; after configuration_finish never NULL */
    char *file;                       /* the one that was read, or NULL */
    struct place *places;
    size_t place_count;
};

void configuration_init(struct configuration *);
void configuration_release(struct configuration *);

/* Reads a file over what is set so far. A problem is told as "FILE:LINE: …" with the option and
 * what is allowed; the first one ends the reading. message: free(), NULL when all is well. */
char *config_read(struct configuration *, const char *path);

/* One option of cleatd or of the coordinator (section ""), over what a file said. */
bool config_set(struct configuration *, const char *key, const char *value, char *why,
                size_t size);

/* Fills the paths that nobody gave, then checks the whole. message as for config_read. */
char *configuration_finish(struct configuration *);

/* Takes over cleatd's own options that may change while it runs, and tells every difference. */
void config_take_live(struct configuration *, struct configuration *given,
                      cleat_change_fn *changed, void *arg);

/* Every option on a line: section, key, type, range, default, live or restart, and help,
 * separated by tabs. */
void config_print_options(void);

#endif
