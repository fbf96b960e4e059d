/* What to run for a request: command line, environment and the file with the code. */
#ifndef CLEAT_EXECUTOR_PROGRAM_H
#define CLEAT_EXECUTOR_PROGRAM_H

#include <jansson.h>
#include <stdbool.h>
#include "base/error.h"
#include "executor/config.h"

struct execution_request;

struct program {
    char **argv;
    char **env;                  /* with ENTER_PREFIX */
    char *code_path, *code_name; /* NULL: no code */
};

#define PROGRAM_BASH "BASH:"
bool program_is_bash(const char *code);

/* Writes the code to executions/NUM.py or .sh. Later environments replace earlier ones: ours,
 * the claim's, the request's. */
enum error_code program_make(struct program *, const struct config *, json_t *claim_env,
                             const struct execution_request *, unsigned num, struct error *e);
void program_release(struct program *);

/* An environment from outside: an object of strings with proper names, not too large. */
enum error_code program_check_env(json_t *env, struct error *e);

#endif
