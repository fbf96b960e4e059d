#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/paths.h"
#include "cleat/cli.h"

#define MAX_IDLE_CONNECTIONS 4

static const struct command commands[] = {
    {"create",
     "[--class C] [--request-id R] [--tenant T] [--user U] [--thread H] [--run N]\n"
     "    [--parent ID] [--env K=V]… [--cpu-milli N] [--memory-mb N] [--gpu N]\n"
     "    [--label K=V]… [--no-queue] [--input URL] [--count N] [--wait] [--timeout S]",
     "open sessions and print their ids", cmd_create},
    {"exec", "[--timeout S] [--bash] ID CODE | - | -- ARGV…", "run code in a session",
     cmd_exec},
    {"ps", "[--all] [--tenant T]", "list sessions", cmd_ps},
    {"show", "ID", "all about one session", cmd_show},
    {"wait", "[--closed] [--timeout S] ID…", "wait until sessions are ready, or closed",
     cmd_wait},
    {"kill", "[--wait] [--timeout S] --all | ID…", "close sessions", cmd_kill},
    {"drain", "[--now] [--tenant T] [--no-wait] [--timeout S] | --end [--tenant T]",
     "take no new sessions and wait until none is left", cmd_drain},
    {"reap", "[--dry-run] [--adopt]", "close what belongs to no session", cmd_reap},
    {"status", "", "counters of cleatd", cmd_status},
    {"isolation", "", "who holds which address and which connections", cmd_isolation},
    {"timeline", "[--svg FILE] [ID…]", "draw the phases of sessions", cmd_timeline},
    {"events", "[-f] [--after ID] [--tenant T] [ID]", "what happens, as it happens",
     cmd_events},
    {"job", "submit | list | show | logs | wait | cancel | timeline …",
     "run commands; cleat job --help says more", cmd_job},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

int usage_error(const char *fmt, ...)
{
    va_list args;
    fputs("cleat: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return EXIT_USAGE;
}

static void print_command(FILE *to, const struct command *c)
{
    fprintf(to, "  cleat %s %s\n      %s\n", c->name, c->arguments, c->help);
}

bool read_number(const char *option, const char *text, int64_t min, int64_t max, int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && *out >= min && *out <= max)
        return true;
    usage_error("%s: \"%s\" is not a whole number within %" PRId64 "..%" PRId64, option, text,
                min, max);
    return false;
}

bool read_seconds(const char *option, const char *text, int64_t min, int64_t max, int64_t *out)
{
    static const char units[] = "smh";
    static const int64_t seconds[] = {1, 60, 3600};
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    const char *unit = *end ? strchr(units, *end) : units;
    bool fine = errno == 0 && end != text && unit && strlen(end) <= 1;
    if (fine && !__builtin_mul_overflow(*out, seconds[unit - units], out) && *out >= min &&
        *out <= max)
        return true;
    usage_error("%s: \"%s\" is no time within %" PRId64 "..%" PRId64
                " seconds (60, 60s, 5m, 1h)",
                option, text, min, max);
    return false;
}

static void print_usage(FILE *to)
{
    fputs("usage: cleat [--socket PATH] [--json] COMMAND …\n", to);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        print_command(to, &commands[i]);
    fputs("cleat(1) says more.\n", to);
}

/* Root's cleatd serves everybody who may write to its socket and has none of their own. */
static char *default_socket(void)
{
    const char *given = getenv("CLEAT_SOCKET");
    if (given && *given)
        return mem_strdup(given);
    char *state_dir = paths_state_dir();
    char *own = paths_socket(state_dir);
    free(state_dir);
    if (own && access(own, F_OK) != 0 && access(PATHS_SYSTEM_SOCKET, F_OK) == 0) {
        free(own);
        own = mem_strdup(PATHS_SYSTEM_SOCKET);
    }
    return own ? own : mem_strdup(PATHS_SYSTEM_SOCKET);
}

static int run(const struct command *command, const char *socket, bool json, int argc,
               char **argv)
{
    struct cli cli = {.socket = socket, .json = json, .loop = loop_new(NULL)};
    cli.client = http_client_new(cli.loop);
    cli.share = http_share_new(cli.client, MAX_IDLE_CONNECTIONS);
    int status = command->run(&cli, argc, argv);
    http_share_free(cli.share);
    http_client_free(cli.client);
    loop_free(cli.loop);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "cleat: standard output: %s\n", strerror(errno));
        return EXIT_ERROR;
    }
    return status;
}

static int run_named(const char *name, const char *socket, bool json, int argc, char **argv)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        bool has_commands = commands[i].run == cmd_job; /* it says itself how each is used */
        if (argc == 2 && strcmp(argv[1], "--help") == 0 && !has_commands)
            return print_command(stdout, &commands[i]), EXIT_FINE;
        int status = run(&commands[i], socket, json, argc, argv);
        if (status == EXIT_USAGE)
            fputs("cleat --help and cleat(1) say more\n", stderr);
        return status;
    }
    return usage_error("no command \"%s\"; cleat --help lists all", name);
}

/* --json is taken before and after the command's name. */
static bool take_json(int *argc, char **argv)
{
    bool found = false;
    int kept = 0, i = 0;
    for (; i < *argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0)
            found = true;
        else
            argv[kept++] = argv[i];
    }
    for (; i < *argc; i++)
        argv[kept++] = argv[i];
    argv[kept] = NULL;
    *argc = kept;
    return found;
}

int main(int argc, char **argv)
{
    enum { SOCKET = 256, SHOW_VERSION, SHOW_HELP };
    static const struct option names[] = {
        {"socket", required_argument, NULL, SOCKET},
        {"version", no_argument, NULL, SHOW_VERSION},
        {"help", no_argument, NULL, SHOW_HELP},
        {NULL, 0, NULL, 0},
    };
    const char *given = NULL;
    bool json = take_json(&argc, argv);
    int o;
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_LEVEL_ERROR); /* errors are told in words of our own */
    while ((o = getopt_long(argc, argv, "+", names, NULL)) != -1) {
        if (o == SOCKET)
            given = optarg;
        else if (o == SHOW_VERSION)
            return puts("cleat " PACKAGE_VERSION) == EOF;
        else if (o == SHOW_HELP)
            return print_usage(stdout), EXIT_FINE;
        else
            return EXIT_USAGE;
    }
    if (optind == argc) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    char *socket = given ? mem_strdup(given) : default_socket();
    char **rest = argv + optind;
    int count = argc - optind;
    optind = 0; /* starts getopt anew in the command */
    int status = run_named(rest[0], socket, json, count, rest);
    free(socket);
    return status;
}
