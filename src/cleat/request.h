/* What the requests for a session and for a job have in common. */
#ifndef CLEAT_CLEAT_REQUEST_H
#define CLEAT_CLEAT_REQUEST_H

#include "cleat/cli.h"

enum request_option {
    REQUEST_CLASS = 512,
    REQUEST_TENANT,
    REQUEST_USER,
    REQUEST_THREAD,
    REQUEST_RUN,
    REQUEST_PARENT,
    REQUEST_ENV,
    REQUEST_CPU,
    REQUEST_MEMORY,
    REQUEST_GPU,
    REQUEST_LABEL,
    REQUEST_NO_QUEUE,
    REQUEST_OPTIONS_END
};

/* Of getopt_long's table. */
#define REQUEST_OPTIONS                                                                        \
    {"class", required_argument, NULL, REQUEST_CLASS},                                         \
        {"tenant", required_argument, NULL, REQUEST_TENANT},                                   \
        {"user", required_argument, NULL, REQUEST_USER},                                       \
        {"thread", required_argument, NULL, REQUEST_THREAD},                                   \
        {"run", required_argument, NULL, REQUEST_RUN},                                         \
        {"parent", required_argument, NULL, REQUEST_PARENT},                                   \
        {"env", required_argument, NULL, REQUEST_ENV},                                         \
        {"cpu-milli", required_argument, NULL, REQUEST_CPU},                                   \
        {"memory-mb", required_argument, NULL, REQUEST_MEMORY},                                \
        {"gpu", required_argument, NULL, REQUEST_GPU},                                         \
        {"label", required_argument, NULL, REQUEST_LABEL},                                     \
    {                                                                                          \
        "no-queue", no_argument, NULL, REQUEST_NO_QUEUE                                        \
    }

/* Puts an option with its value into the request. EXIT_FINE, or EXIT_USAGE, said: also for an
 * option that is none of the above. */
int request_take(json_t *request, int option, const char *value);

/* EXIT_FINE, or EXIT_USAGE, said, when the text is not UTF-8. */
int request_set_text(json_t *request, const char *key, const char *text);

/* NULL: one of our own. Every request has an id: when its answer is lost it can be made again.
 */
int request_set_id(struct cli *, json_t *request, const char *given);

#endif
