#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <syslog.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "cleat.h"
#include "cleatd/api.h"
#include "cleatd/config.h"
#include "cleatd/service.h"
#include "loop/loop.h"

#define DEFAULT_FILE CLEAT_SYSCONFDIR "/cleatd.conf"

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "usage: cleatd [--config FILE] [--socket PATH] [--state-dir PATH] [--log-level LEVEL]\n"
    "       cleatd --check-config [--config FILE]\n"
    "       cleatd --print-options | --print-routes | --version | --help\n"
    "FILE is " DEFAULT_FILE ", when there is one.\n"
    "cleatd(8) and cleatd.conf(5) say more.\n";

struct command_line {
    const char *file, *socket, *state_dir, *log_level;
    bool check;
    bool set_something; /* the file did, when it was read */
};

static void refuse_usage(void)
{
    fputs(usage, stderr);
    exit(EXIT_USAGE);
}

/* Options that only print end the program here. */
static struct command_line read_command_line(int argc, char **argv)
{
    enum { CONFIG = 256, CHECK, PRINT, ROUTES, SOCKET, STATE, LEVEL, VERSION, HELP };
    static const struct option names[] = {
        {"config", required_argument, NULL, CONFIG},
        {"check-config", no_argument, NULL, CHECK},
        {"print-options", no_argument, NULL, PRINT},
        {"print-routes", no_argument, NULL, ROUTES},
        {"socket", required_argument, NULL, SOCKET},
        {"state-dir", required_argument, NULL, STATE},
        {"log-level", required_argument, NULL, LEVEL},
        {"version", no_argument, NULL, VERSION},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    struct command_line c = {0};
    int o;
    while ((o = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (o == CONFIG)
            c.file = optarg;
        else if (o == CHECK)
            c.check = true;
        else if (o == SOCKET)
            c.socket = optarg;
        else if (o == STATE)
            c.state_dir = optarg;
        else if (o == LEVEL)
            c.log_level = optarg;
        else if (o == PRINT)
            config_print_options();
        else if (o == ROUTES)
            api_print_routes();
        else if (o == VERSION)
            printf("cleatd %s\n", cleat_version());
        else if (o == HELP)
            fputs(usage, stdout);
        else
            refuse_usage();
        if (o == PRINT || o == ROUTES || o == VERSION || o == HELP)
            exit(EXIT_SUCCESS);
    }
    if (optind < argc)
        refuse_usage();
    return c;
}

static char * override(struct configuration *c, const char *option, const char *key,
                       const char *value)
{
    char why[512];
    if (!value || config_set(c, key, value, why, sizeof why))
        return NULL;
    return mem_printf("%s: %s", option, why);
}

/* A file that was read once has to be there, and to say something, ever after: without it all
 * would be operators and no tenant would have a limit, while somebody saves or moves it. */
static char *read_file(struct command_line *line, struct configuration *c)
{
    if (!line->file && access(DEFAULT_FILE, F_OK) == 0)
        line->file = DEFAULT_FILE;
    if (!line->file)
        return NULL;
    char *message = config_read(c, line->file);
    if (!message && line->set_something && c->place_count == 0)
        message = mem_printf("%s: sets nothing any more", line->file);
    line->set_something |= c->place_count > 0;
    return message;
}

static char *refuse_relative(const char *option, const char *path)
{
    bool fine = !path || !*path || *path == '/';
    return fine ? NULL : mem_printf("%s: \"%s\" is not an absolute path", option, path);
}

/* NULL, or what is wrong. */
static char *apply(const struct command_line *line, struct configuration *c)
{
    char *message = override(c, "--socket", "socket", line->socket);
    if (!message)
        message = refuse_relative("--socket", line->socket);
    if (!message)
        message = override(c, "--state-dir", "state_dir", line->state_dir);
    if (!message)
        message = refuse_relative("--state-dir", line->state_dir);
    if (!message)
        message = override(c, "--log-level", "log_level", line->log_level);
    return message;
}

/* What is wrong with its values is wrong with any file. */
static void check_values(const struct command_line *line)
{
    struct configuration c;
    configuration_init(&c);
    char *message = apply(line, &c);
    configuration_release(&c);
    if (!message)
        return;
    fprintf(stderr, "cleatd: %s\n", message);
    free(message);
    exit(EXIT_USAGE);
}

/* The file first, then the command line, then what is still open. NULL, or what is wrong. */
static char *configure(void *command_line, struct configuration *c)
{
    struct command_line *line = command_line;
    char *message = read_file(line, c);
    if (!message)
        message = apply(line, c);
    return message ? message : configuration_finish(c);
}

/* ---- log ---- */

static void to_syslog(void *arg, int level, const char *line)
{
    static const int severities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
    (void)arg;
    syslog(severities[level], "%s", line);
}

static void own_to_syslog(void *arg, enum log_level level, const char *line)
{
    to_syslog(arg, (int)level, line);
}

static void start_log(void *arg, const struct configuration *c)
{
    const struct settings *s = &c->own;
    (void)arg;
    bool use_syslog = s->log == LOG_TO_SYSLOG;
    if (use_syslog)
        openlog("cleatd", LOG_PID, LOG_DAEMON);
    log_set_level((enum log_level)s->log_level);
    log_set_sink(use_syslog ? own_to_syslog : NULL, NULL);
    cleat_set_log(use_syslog ? to_syslog : NULL, NULL, s->log_level);
}

/* ---- the account ---- */

struct look {
    struct loop *loop;
    unsigned errors, warnings;
};

static void on_finding(void *arg, const char *class_name, int level, const char *problem,
                       const char *cure)
{
    struct look *look = arg;
    bool is_error = level == 0;
    look->errors += is_error;
    look->warnings += !is_error;
    printf("class %s: %s: %s; cure: %s\n", class_name, is_error ? "error" : "warning", problem,
           cure);
}

static void on_looked(void *arg)
{
    struct look *look = arg;
    loop_stop(look->loop);
}

/* What the file says is fine; is what it names? */
static int examine(const struct configuration *c)
{
    struct look look = {.loop = loop_new(NULL)};
    log_set_level(LOG_LEVEL_ERROR);
    cleat_set_log(NULL, NULL, LOG_LEVEL_ERROR);
    struct cleat_examination *x = cleat_config_examine(loop_base(look.loop), c->coordinator,
                                                       on_finding, on_looked, &look);
    loop_run(look.loop);
    cleat_examination_free(x);
    loop_free(look.loop);
    if (look.errors == 0)
        puts(look.warnings ? "the configuration works" : "the configuration is fine");
    return look.errors ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The master key is in memory: no core file of it, no debugger of the same user. */
static void keep_secrets(void)
{
    prctl(PR_SET_DUMPABLE, 0);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

int main(int argc, char **argv)
{
    struct command_line line = read_command_line(argc, argv);
    struct service_hooks hooks = {.reread = configure, .reloaded = start_log, .arg = &line};
    struct configuration c;
    int status = EXIT_FAILURE;
    signal(SIGPIPE, SIG_IGN);
    service_hold_reload();
    keep_secrets();
    check_values(&line);
    configuration_init(&c);
    char *message = configure(&line, &c);
    if (message) {
        fprintf(stderr, "cleatd: %s\n", message);
    } else if (line.check) {
        status = examine(&c);
    } else {
        start_log(NULL, &c);
        status = service_run(&c, &hooks);
    }
    free(message);
    configuration_release(&c);
    return status;
}
