#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "haproxy_help.h"

/* ---- HAProxy processes ---- */

char *socket_of(const struct bench *t, int node)
{
    return mem_printf("%s/s%d", t->dir, node);
}

int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    mem_copy_string(a.sun_path, sizeof(a.sun_path), path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* A question of the test's own. free() */
char *raw(const struct bench *t, int node, const char *command)
{
    char *path = socket_of(t, node), *text = mem_alloc(65536);
    int fd = connect_to(path);
    size_t len = 0;
    ssize_t n;
    assert_true(fd >= 0);
    dprintf(fd, "%s\n", command);
    while (len < 65535 && (n = read(fd, text + len, 65535 - len)) > 0)
        len += (size_t)n;
    close(fd);
    free(path);
    return text;
}

bool listed(const struct bench *t, int node, const char *word)
{
    char *text = raw(t, node, "show servers state be");
    bool found = strstr(text, word) != NULL;
    free(text);
    return found;
}

static bool is_listening(void *arg)
{
    int fd = connect_to(arg);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

void haproxy_start(struct bench *t, int node, const char *level, const char *backend)
{
    char *config = mem_printf("%s/c%d", t->dir, node), *path = socket_of(t, node);
    FILE *f = fopen(config, "w");
    fprintf(f,
            "global\n  stats socket %s mode 600 level %s\ndefaults\n  mode http\n"
            "  timeout connect 1s\n  timeout client 30s\n  timeout server 30s\n"
            "frontend f\n  bind %s:%d\n  default_backend be\nbackend be\n  %s",
            path, level, IP, FRONT + node, backend);
    fclose(f);
    t->haproxy[node] = fork();
    if (t->haproxy[node] == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("haproxy", "haproxy", "-db", "-f", config, NULL);
        execl("/usr/sbin/haproxy", "haproxy", "-db", "-f", config, NULL);
        _exit(127);
    }
    assert_true(run_until(t->loop, is_listening, path, 5000));
    free(config);
    free(path);
}

void haproxy_stop(struct bench *t, int node)
{
    if (t->haproxy[node] <= 0)
        return;
    kill(t->haproxy[node], SIGKILL);
    waitpid(t->haproxy[node], NULL, 0);
    t->haproxy[node] = 0;
}

/* ---- the bench ---- */

struct seen *seen_of(struct bench *t, const char *id)
{
    size_t i = 0;
    while (i < t->count && strcmp(t->seen[i].id, id) != 0)
        i++;
    if (i == t->count) {
        assert_true(t->count < TARGETS_MAX);
        mem_copy_string(t->seen[t->count++].id, sizeof(t->seen[i].id), id);
    }
    return &t->seen[i];
}

void note_target(void *arg, const char *id, enum target_state s, const char *reason)
{
    struct seen *seen = seen_of(arg, id);
    size_t len = strlen(seen->states);
    assert_true(len < sizeof(seen->states) - 1);
    if (s != TARGET_CHECKING || len == 0 || seen->states[len - 1] != 'C')
        seen->states[len] = "?CHUG"[s];
    mem_copy_string(seen->reason, sizeof(seen->reason), reason);
}

int set_up(void **state)
{
    struct bench *t = mem_alloc(sizeof(*t));
    t->loop = loop_new(NULL);
    t->dir = directory_new();
    t->class = class_new();
    class_set(t->class, "haproxy_backend", "be");
    class_set(t->class, "check_interval_ms", "50");
    *state = t;
    return 0;
}

void open_balancer(struct bench *t, int nodes)
{
    char *sockets =
        nodes == 1 ? mem_printf("%s/s0", t->dir) : mem_printf("%s/s0,%s/s1", t->dir, t->dir);
    class_set(t->class, "haproxy_sockets", sockets);
    class_set(t->class, "haproxy_urls", nodes == 1 ? "http://a" : "http://a,http://b");
    free(sockets);
    struct balancer_env env = {
        .loop = t->loop, .class = t->class, .owner = "o", .on_target = note_target, .arg = t};
    struct error e = {.code = ERR_NONE};
    t->b = balancer_haproxy.open(&env, &e);
    if (t->b == NULL)
        fail_msg("%s", e.message);
}

void close_balancer(struct bench *t)
{
    if (t->b != NULL)
        balancer_haproxy.close(t->b);
    t->b = NULL;
}

int tear_down(void **state)
{
    struct bench *t = *state;
    close_balancer(t);
    for (int i = 0; i < NODES; i++)
        haproxy_stop(t, i);
    loop_free(t->loop);
    class_free(t->class);
    directory_remove(t->dir);
    free(t);
    return 0;
}

struct error add_to(struct bench *t, const char *id, const char *ip, uint16_t port)
{
    struct answer a = {0};
    balancer_haproxy.add(t->b, &(struct target){.id = id, .ip = ip, .port = port}, take_answer,
                         &a);
    assert_int_equal(a.calls, 0);
    answer_of(t->loop, &a);
    return a.error;
}

enum error_code add(struct bench *t, const char *id, uint16_t port)
{
    return add_to(t, id, IP, port).code;
}

enum error_code take_out(struct bench *t, const char *id)
{
    struct answer a = {0};
    balancer_haproxy.remove(t->b, &(struct target){.id = id}, take_answer, &a);
    assert_int_equal(a.calls, 0);
    return answer_of(t->loop, &a);
}

struct goal {
    struct bench *t;
    const char *id;
    char state;
};

static bool is_reached(void *arg)
{
    struct goal *g = arg;
    const char *states = seen_of(g->t, g->id)->states;
    size_t len = strlen(states);
    return len > 0 && states[len - 1] == g->state;
}

void reach(struct bench *t, const char *id, char state)
{
    struct goal g = {t, id, state};
    if (!run_until(t->loop, is_reached, &g, 15000))
        fail_msg("%s: \"%s\" (%s), not %c", id, seen_of(t, id)->states, seen_of(t, id)->reason,
                 state);
}

int fetch(int node, const char *cookie, char *answer, size_t size)
{
    return web_get(IP, (uint16_t)(FRONT + node), "/", cookie, answer, size);
}
