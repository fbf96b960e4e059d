#include "cleatd/service.h"

#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "cleatd/api.h"
#include "cleatd/scrape.h"
#include "loop/child.h"
#include "loop/loop.h"

#define FIRST_PASSED_FD 3 /* SD_LISTEN_FDS_START of sd_listen_fds(3) */
#define MAX_HEAD (32 * 1024)
#define IDLE_TIMEOUT_MS (60 * 1000)

struct service {
    struct loop *loop;
    struct cleat *cleat;
    struct api *api;
    struct configuration *config;
    const struct service_hooks *hooks;
    struct timer deadline; /* of the drain */
    bool draining;
};

/* ---- socket ---- */

static bool somebody_listens(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mem_copy_string(address.sun_path, sizeof address.sun_path, path);
    bool answered = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return answered;
}

/* root's directory must let the socket's group through; a user's is nobody else's business. */
static bool make_socket_directory(const char *path, struct error *e)
{
    char *copy = mem_strdup(path);
    bool fine = dir_make(dirname(copy), geteuid() == 0 ? 0755 : 0700, e) == ERR_NONE;
    free(copy);
    return fine;
}

/* The socket that the service manager listens on for us, and goes on to when we are gone:
 * clients that connect meanwhile wait (sd_listen_fds(3)). 0: there is none. */
static int take_passed_socket(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    bool ours =
        pid && count && strtol(pid, NULL, 10) == (long)getpid() && strcmp(count, "1") == 0;
    struct stat st;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (!ours || fstat(FIRST_PASSED_FD, &st) != 0 || !S_ISSOCK(st.st_mode))
        return 0;
    fcntl(FIRST_PASSED_FD, F_SETFD, FD_CLOEXEC);
    fcntl(FIRST_PASSED_FD, F_SETFL, O_NONBLOCK);
    return FIRST_PASSED_FD;
}

static struct api *listen_for_clients(struct loop *loop, struct cleat *cleat,
                                      const struct configuration *c, int passed)
{
    const struct settings *s = &c->own;
    static const mode_t modes[] = {0600, 0660, 0666};
    struct server_options options = {
        .unix_path = s->socket,
        .unix_mode = modes[s->socket_mode],
        .unix_fd = passed,
        .max_head = MAX_HEAD,
        .max_body = (size_t)s->max_body_kb * 1024,
        .idle_timeout_ms = IDLE_TIMEOUT_MS,
        .max_connections = (unsigned)s->max_connections,
    };
    struct error e = {0};
    struct api *api = NULL;
    if (passed > 0 || make_socket_directory(s->socket, &e))
        api = api_new(loop, cleat, c->peers, &options, &e);
    if (!api)
        fprintf(stderr, "cleatd: %s: %s\n", s->socket, e.message);
    return api;
}

/* False: what is configured cannot be had. */
static bool listen_for_collectors(struct loop *loop, struct cleat *cleat,
                                  const struct settings *s, struct scrape **scrape)
{
    struct error e = {0};
    if (!*s->metrics_listen)
        return true;
    *scrape = scrape_new(loop, cleat, s->metrics_listen, &e);
    if (!*scrape)
        fprintf(stderr, "cleatd: metrics_listen %s: %s\n", s->metrics_listen, e.message);
    return *scrape != NULL;
}

/* ---- signals ---- */

static void on_drained(void *arg)
{
    struct service *s = arg;
    log_info("cleatd.drained");
    loop_stop(s->loop);
}

static void on_drain_deadline(void *arg)
{
    struct service *s = arg;
    log_warn("cleatd.drain_timeout", KI("seconds", s->config->own.drain_timeout_s));
    loop_stop(s->loop);
}

static void on_stop(void *arg)
{
    struct service *s = arg;
    if (s->draining || s->config->own.on_sigterm == SIGTERM_LEAVES) {
        loop_stop(s->loop);
        return;
    }
    s->draining = true;
    timer_arm(&s->deadline, s->config->own.drain_timeout_s * 1000);
    cleat_close_all(s->cleat, on_drained, s);
}

static void on_change(void *arg, const char *class_name, const char *key, const char *from,
                      const char *to, bool live)
{
    unsigned *restarts = arg;
    const char *what = key ? key : to ? "a new class" : "a class that is gone";
    *restarts += !live;
    if (live)
        log_info("reload.changed", KV("class", class_name), KV("option", what),
                 KV("from", from), KV("to", to));
    else
        log_warn("reload.needs_restart", KV("class", class_name), KV("option", what),
                 KV("from", from), KV("to", to));
}

/* A file that is wrong changes nothing. */
static void on_reload(void *arg)
{
    struct service *s = arg;
    struct configuration given;
    char why[512] = "";
    unsigned restarts = 0;
    configuration_init(&given);
    char *message = s->hooks->reread(s->hooks->arg, &given);
    struct cleat_config *coordinator = given.coordinator;
    if (!message) {
        given.coordinator = NULL; /* taken over */
        if (cleat_reload(s->cleat, coordinator, on_change, &restarts, why, sizeof why)) {
            config_take_live(s->config, &given, on_change, &restarts);
            api_set_peers(s->api, s->config->peers);
        }
    }
    if (message || *why)
        log_error("reload.refused", KV("error", message ? message : why));
    else
        log_info("reload.done", KI("need_restart", restarts));
    s->hooks->reloaded(s->hooks->arg, s->config);
    configuration_release(&given);
    free(message);
}

/* ---- run ---- */

static void mask_reload(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigprocmask(how, &set, NULL);
}

void service_hold_reload(void)
{
    mask_reload(SIG_BLOCK);
}

static void run(struct service *s)
{
    const struct configuration *c = s->config;
    struct signal_watch *watches[] = {signal_watch_new(s->loop, SIGTERM, on_stop, s),
                                      signal_watch_new(s->loop, SIGINT, on_stop, s),
                                      signal_watch_new(s->loop, SIGHUP, on_reload, s)};
    timer_init(&s->deadline, s->loop, on_drain_deadline, s);
    mask_reload(SIG_UNBLOCK);
    log_info("cleatd.start", KV("version", cleat_version()), KV("socket", c->own.socket),
             KV("state_dir", c->state_dir));
    loop_run(s->loop);
    mask_reload(SIG_BLOCK);
    log_info("cleatd.stop", KV("containers", "what is open is left for the next start"));
    timer_stop(&s->deadline);
    for (size_t i = 0; i < sizeof watches / sizeof watches[0]; i++)
        signal_watch_free(watches[i]);
}

/* The coordinator comes before the socket: its lock on the state directory is what keeps a
 * second cleatd away from the first one's socket. */
int service_run(struct configuration *c, const struct service_hooks *hooks)
{
    char why[512];
    int status = EXIT_FAILURE, passed = take_passed_socket();
    if (passed == 0 && somebody_listens(c->own.socket)) {
        fprintf(stderr, "cleatd: %s: another server listens there\n", c->own.socket);
        return EXIT_FAILURE;
    }
    struct service s = {.loop = loop_new(NULL), .config = c, .hooks = hooks};
    s.cleat = cleat_new(loop_base(s.loop), c->coordinator, why, sizeof why);
    c->coordinator = NULL; /* taken over */
    s.api = s.cleat ? listen_for_clients(s.loop, s.cleat, c, passed) : NULL;
    if (!s.cleat)
        fprintf(stderr, "cleatd: %s\n", why);
    struct scrape *scrape = NULL;
    if (s.api && listen_for_collectors(s.loop, s.cleat, &c->own, &scrape)) {
        run(&s);
        status = EXIT_SUCCESS;
    }
    scrape_free(scrape);
    if (s.api)
        api_free(s.api);
    if (s.cleat)
        cleat_free(s.cleat);
    loop_free(s.loop);
    return status;
}
