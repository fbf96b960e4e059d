#include "executor/program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "executor/enter.h"
#include "executor/execution.h"

#define ENV_MAX 256
#define ENV_BYTES_MAX 65536

bool program_is_bash(const char *code)
{
    return strncmp(code, PROGRAM_BASH, strlen(PROGRAM_BASH)) == 0;
}

enum error_code program_check_env(json_t *env, struct error *e)
{
    const char *name;
    json_t *value;
    size_t bytes = 0;
    if (json_object_size(env) > ENV_MAX)
        return error_set(e, ERR_INVALID, "env has more than %d variables", ENV_MAX);
    json_object_foreach (env, name, value) {
        if (!*name || strchr(name, '='))
            return error_set(e, ERR_INVALID, "env has an impossible name");
        if (!json_is_string(value))
            return error_set(e, ERR_INVALID, "env.%.64s must be a string", name);
        bytes += strlen(name) + json_string_length(value);
    }
    if (bytes > ENV_BYTES_MAX)
        return error_set(e, ERR_INVALID, "env has more than %d bytes", ENV_BYTES_MAX);
    return ERR_NONE;
}

static json_t *merged_env(const struct config *c, json_t *claim_env, json_t *request_env)
{
    const char *home = c->sandbox == SANDBOX_BWRAP ? ENTER_HOME : c->home;
    json_t *env = json_object();
    json_object_set_new(env, "PATH", json_string(c->path));
    json_object_set_new(env, "LANG", json_string(c->lang));
    json_object_set_new(env, "HOME", json_string(home));
    json_object_set_new(env, "SESSION_ID", json_string(c->session));
    json_object_set_new(env, "PYTHONPATH", json_string(home)); /* the script lies elsewhere */
    if (claim_env)
        json_object_update(env, claim_env);
    if (request_env)
        json_object_update(env, request_env);
    return env;
}

static char **env_list(json_t *env)
{
    char **list = mem_array(json_object_size(env) + 1, sizeof *list);
    const char *name;
    json_t *value;
    size_t i = 0;
    json_object_foreach (env, name, value)
        list[i++] = mem_printf(ENTER_PREFIX "%s=%s", name, json_string_value(value));
    return list;
}

/* Readable for the user's uid where the directory above lets it through (sandbox none). */
static enum error_code write_code(const char *path, const char *code, struct error *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    size_t len = strlen(code), done = 0;
    while (fd >= 0 && done < len) {
        ssize_t n = write(fd, code + done, len - done);
        if (n < 0 && errno != EINTR)
            break;
        done += n > 0 ? (size_t)n : 0;
    }
    if (fd < 0 || done < len)
        error_set(e, ERR_INTERNAL, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return e->code;
}

static enum error_code make_script(struct program *p, const struct config *c, const char *code,
                                   unsigned num, struct error *e)
{
    bool bash = program_is_bash(code);
    const char *suffix = bash ? "sh" : "py";
    p->code_path = mem_printf("%s/%u.%s", c->executions, num, suffix);
    p->code_name = mem_printf("execution-%u.%s", num, suffix);
    char **argv = p->argv = mem_array(4, sizeof *argv);
    *argv++ = mem_strdup(bash ? "bash" : "python3");
    if (!bash)
        *argv++ = mem_strdup("-u");
    *argv = c->sandbox == SANDBOX_BWRAP ? mem_printf(ENTER_CODE "%s", p->code_name)
                                        : mem_strdup(p->code_path);
    return write_code(p->code_path, code + (bash ? strlen(PROGRAM_BASH) : 0), e);
}

static void copy_argv(struct program *p, const json_t *argv)
{
    size_t i;
    json_t *arg;
    p->argv = mem_array(json_array_size(argv) + 1, sizeof *p->argv);
    json_array_foreach (argv, i, arg)
        p->argv[i] = mem_strdup(json_string_value(arg));
}

enum error_code program_make(struct program *p, const struct config *c, json_t *claim_env,
                             const struct execution_request *r, unsigned num, struct error *e)
{
    json_t *env = merged_env(c, claim_env, r->env);
    p->env = env_list(env);
    json_decref(env);
    if (r->code)
        return make_script(p, c, r->code, num, e);
    copy_argv(p, r->argv);
    return ERR_NONE;
}

void program_release(struct program *p)
{
    enter_free(p->argv);
    enter_free(p->env);
    free(p->code_path);
    free(p->code_name);
    *p = (struct program){0};
}
