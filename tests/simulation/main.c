/* simulation: the whole core and its drivers in virtual time, against a world that keeps its
 * own books.
 *
 * Without --scenario: every named scenario, then --lives (10,000) random ones; with --named
 * only the former, or with all its points that of --scenario. --every-pair: each point is also
 * followed by a second crash, not only some. --flat: the process may not grow after a tenth of
 * the lives. World i of a scenario has seed N + i; a failing one is repeated
 * with the seed and the scenario that are printed. --self-test shows that the checks can fail
 * and that a seed repeats itself. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/mem.h"
#include "growth.h"
#include "scenario.h"
#include "self_test.h"
#include "sim_aws.h"

#define SEEDS_OF_EACH_POINT 1
#define PAIR_STEP 16 /* of so many points one is followed by a second crash */

struct run {
    uint64_t seed, lives_wanted;
    const struct scenario *only;
    struct scenario_order order;
    bool keep_going, named, flat, every_pair;
    uint64_t lives, worlds, passed, failed, turns, crashes, crash_points;
    struct scenario_result last;
    int64_t virtual_ms;
};

static void report_failure(const struct run *run, const struct scenario *scenario,
                           uint64_t seed, const char *violation)
{
    const struct scenario_order *order = &run->order;
    if (!run->keep_going) {
        fprintf(stderr, "\n---- the last events ----\n");
        world_last_lines(stderr);
    }
    fprintf(stderr, "\nscenario %s, seed %" PRIu64 " violates %s\n", scenario->name, seed,
            violation);
    fprintf(stderr, "again: simulation --scenario %s --seed %" PRIu64 " --lives 1",
            scenario->name, seed);
    if (order->crash_at)
        fprintf(stderr, " --crash-at %" PRIu64 "%s", order->crash_at,
                order->crash_again ? " --crash-again" : "");
    if (order->fail_commit)
        fprintf(stderr, " --fail-commit %" PRIu64, order->fail_commit);
    if (order->full_commit)
        fprintf(stderr, " --full-commit %" PRIu64, order->full_commit);
    fprintf(stderr, "\n");
}

static bool run_one(struct run *run, const struct scenario *scenario, uint64_t seed)
{
    struct scenario_result *result = &run->last;
    scenario_run(scenario, seed, &run->order, result);
    run->worlds++;
    run->lives += result->lives;
    run->turns += result->turns;
    run->crashes += result->crashes;
    run->virtual_ms += result->virtual_ms;
    if (!result->violation[0]) {
        run->passed++;
        return true;
    }
    run->failed++;
    report_failure(run, scenario, seed, result->violation);
    return run->keep_going;
}

static bool run_each_point(struct run *run, const struct scenario *scenario, uint64_t seed)
{
    const uint64_t points = run->last.points, commits = run->last.commits;
    const uint64_t step = run->every_pair ? 1 : PAIR_STEP, pairs = points / step;
    bool fine = true;
    for (uint64_t n = 1; n <= points && fine; n++) {
        run->order.crash_at = n;
        fine = run_one(run, scenario, seed);
    }
    run->order.crash_again = true;
    for (uint64_t n = 1; n <= pairs && fine; n++) {
        run->order.crash_at = step * n - seed % step;
        fine = run_one(run, scenario, seed);
    }
    run->order.crash_at = 0;
    run->order.crash_again = false;
    for (uint64_t n = 1; n <= commits && fine; n++) {
        run->order.fail_commit = n;
        fine = run_one(run, scenario, seed);
    }
    run->order.fail_commit = 0;
    for (uint64_t n = 1; n <= commits && fine; n++) {
        run->order.full_commit = n;
        fine = run_one(run, scenario, seed);
    }
    run->order.full_commit = 0;
    run->crash_points += points + pairs;
    printf("  %" PRIu64 " crash points, %" PRIu64 " pairs, %" PRIu64 " refused commits\n",
           points, pairs, commits);
    return fine;
}

/* A short run takes the beginning of a long enumeration. */
static unsigned worlds_of(const struct scenario *s, uint64_t lives_wanted)
{
    if (s->repeat == EACH_POINT)
        return SEEDS_OF_EACH_POINT;
    return s->repeat > lives_wanted ? (unsigned)(lives_wanted / 10) : s->repeat;
}

static bool run_named(struct run *run)
{
    for (const struct scenario *s = scenario_next(NULL); s; s = scenario_next(s)) {
        if (run->only && s != run->only)
            continue;
        printf("scenario %s: %s\n", s->name, s->help);
        fflush(stdout);
        bool each = s->repeat == EACH_POINT;
        for (unsigned i = 0; i < worlds_of(s, run->lives_wanted); i++)
            if (!run_one(run, s, run->seed + i) ||
                (each && !run_each_point(run, s, run->seed + i)))
                return false;
    }
    return true;
}

static bool run_many(struct run *run, const struct scenario *scenario)
{
    const uint64_t before = run->lives, wanted = run->lives_wanted;
    bool warm = false;
    for (uint64_t seed = run->seed; run->lives - before < wanted; seed++) {
        if (!run_one(run, scenario, seed))
            return false;
        if (run->flat && !warm && run->lives - before >= wanted / 10) {
            warm = true;
            growth_begin();
        }
    }
    return !run->flat || growth_is_flat();
}

static void print_summary(const struct run *run, double seconds)
{
    printf("%" PRIu64 " lives in %" PRIu64 " worlds, %" PRIu64 " turns, %" PRIu64
           " restarts, %.1f virtual hours in %.1f s: %.0f lives per minute, %.0f per minute of "
           "processor time; seed %" PRIu64 "\n",
           run->lives, run->worlds, run->turns, run->crashes, (double)run->virtual_ms / 3600000,
           seconds, (double)run->lives * 60 / seconds,
           (double)run->lives * 60 * CLOCKS_PER_SEC / (double)clock(), run->seed);
    if (run->crash_points > 0)
        printf("%" PRIu64 " crash points\n", run->crash_points);
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", run->passed, run->failed);
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int usage(const char *problem, const char *what)
{
    fprintf(stderr,
            "simulation: %s %s\n"
            "usage: simulation [--seed N] [--lives M] [--scenario NAME] [--log FILE]\n"
            "                  [--crash-at POINT [--crash-again]] [--fail-commit N] "
            "[--full-commit N]\n"
            "                  [--named [--every-pair]] [--flat] [--keep-going] [--self-test]\n"
            "                  [--sabotage NAME]\n",
            problem, what);
    for (const struct scenario *s = scenario_next(NULL); s; s = scenario_next(s))
        fprintf(stderr, "  %-14s %s\n", s->name, s->help);
    return 2;
}

static bool read_number(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

static int run_all(struct run *run)
{
    double start = seconds_now();
    bool ok = run->named  ? run_named(run)
              : run->only ? run_many(run, run->only)
                          : run_named(run) && run_many(run, &scenario_random);
    print_summary(run, seconds_now() - start);
    if (run->order.log_file && fclose(run->order.log_file) != 0) {
        perror("simulation: log");
        return 1;
    }
    return ok && run->failed == 0 ? 0 : 1;
}

/* What the SDKs would read, and nothing of this machine. */
static void set_environment(void)
{
    char **v = environ;
    while (*v)
        if (strncmp(*v, "AWS_", 4) == 0) {
            char *name = mem_strndup(*v, strcspn(*v, "="));
            unsetenv(name);
            free(name);
            v = environ;
        } else {
            v++;
        }
    setenv("AWS_ACCESS_KEY_ID", "AKIDSIMULATED0000001", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "simulated", 1);
    setenv("AWS_REGION", AWS_REGION_OF_WORLD, 1);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
}

/* The address sanitizer asks for this, where it is linked in: most of its time would go into
 * the call stacks of blocks that are never looked at, and into a heap that no cache holds: a
 * life frees about a megabyte. ASAN_OPTIONS in the environment wins. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "malloc_context_size=2:quarantine_size_mb=2";
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seed", required_argument, NULL, 's'},
                                            {"lives", required_argument, NULL, 'n'},
                                            {"scenario", required_argument, NULL, 'c'},
                                            {"log", required_argument, NULL, 'l'},
                                            {"sabotage", required_argument, NULL, 'x'},
                                            {"self-test", no_argument, NULL, 't'},
                                            {"keep-going", no_argument, NULL, 'k'},
                                            {"named", no_argument, NULL, 'e'},
                                            {"every-pair", no_argument, NULL, 'd'},
                                            {"flat", no_argument, NULL, 'm'},
                                            {"crash-at", required_argument, NULL, 'p'},
                                            {"crash-again", no_argument, NULL, 'a'},
                                            {"fail-commit", required_argument, NULL, 'f'},
                                            {"full-commit", required_argument, NULL, 'u'},
                                            {NULL, 0, NULL, 0}};
    struct run run = {.seed = 1, .lives_wanted = 10000};
    int option;
    set_environment();
    signal(SIGPIPE, SIG_IGN);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 's' && !read_number(optarg, &run.seed))
            return usage("not a seed:", optarg);
        if (option == 'n' && !read_number(optarg, &run.lives_wanted))
            return usage("not a number:", optarg);
        if (option == 'c' && !(run.only = scenario_find(optarg)))
            return usage("no such scenario:", optarg);
        if (option == 'x' && !self_test_find(optarg, &run.order.sabotage))
            return usage("no such sabotage:", optarg);
        if (option == 'l' && !(run.order.log_file = fopen(optarg, "w")))
            return usage("cannot write", optarg);
        if (option == 'p' && !read_number(optarg, &run.order.crash_at))
            return usage("not a number:", optarg);
        if (option == 'f' && !read_number(optarg, &run.order.fail_commit))
            return usage("not a number:", optarg);
        if (option == 'u' && !read_number(optarg, &run.order.full_commit))
            return usage("not a number:", optarg);
        if (option == 'a')
            run.order.crash_again = true;
        if (option == 'e')
            run.named = true;
        if (option == 'd')
            run.every_pair = true;
        if (option == 'm')
            run.flat = true;
        if (option == 'k')
            run.keep_going = true;
        if (option == 't')
            return self_test(run.seed);
        if (option == '?')
            return usage("bad", "option");
    }
    return run_all(&run);
}
