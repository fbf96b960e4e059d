#include "cleatd/metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "base/mem.h"
#include "http/prometheus.h"

#define STATUS_CLASSES 6

static uint64_t answers[STATUS_CLASSES]; /* by the first digit of their status */

void metrics_note_answer(int status)
{
    if (status >= 0 && status / 100 < STATUS_CLASSES)
        answers[status / 100]++;
}

static void add_answers(struct exposition *x)
{
    char code[] = "0xx";
    expose_family(x, "cleat_api_requests_total", "counter",
                  "Requests to the API that were answered, by class of status.");
    for (int i = 2; i < STATUS_CLASSES; i++) {
        code[0] = (char)('0' + i);
        expose(x, (int64_t)answers[i], "code", code, NULL);
    }
}

static void add_turns(struct exposition *x, const struct loop *loop)
{
    struct loop_stats stats;
    loop_get_stats(loop, &stats);
    expose_family(x, "cleat_api_turn_seconds", "histogram",
                  "Time for which requests to the API held the loop.");
    expose_histogram(x, &stats.turns, &buckets_short, NULL);
}

/* ---- the process: names and meanings are those of Prometheus' client libraries */

static void add_memory(struct exposition *x)
{
    long long size = 0, resident = 0;
    int64_t page = sysconf(_SC_PAGESIZE);
    FILE *f = fopen("/proc/self/statm", "re");
    bool known = f && fscanf(f, "%lld %lld", &size, &resident) == 2;
    if (f)
        fclose(f);
    if (!known)
        return;
    expose_gauge(x, "process_resident_memory_bytes", resident * page, "Resident memory.");
    expose_gauge(x, "process_virtual_memory_bytes", size * page, "Virtual memory.");
}

static int64_t count_open_files(void)
{
    int64_t count = 0;
    DIR *d = opendir("/proc/self/fd");
    const struct dirent *entry;
    if (!d)
        return -1;
    while ((entry = readdir(d)))
        count += entry->d_name[0] != '.';
    closedir(d);
    return count - 1; /* not our look at them */
}

static void add_files(struct exposition *x)
{
    struct rlimit limit;
    int64_t open = count_open_files();
    if (open >= 0)
        expose_gauge(x, "process_open_fds", open, "Open file descriptors.");
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        expose_gauge(x, "process_max_fds", (int64_t)limit.rlim_cur,
                     "Most file descriptors that may be open.");
}

static int64_t us_of(const struct timeval *t)
{
    return (int64_t)t->tv_sec * 1000000 + t->tv_usec;
}

/* Field 22 of proc(5)'s stat: ticks since the machine started. -1: unknown. */
static int64_t start_ticks(void)
{
    char text[1024] = "";
    unsigned long long ticks = 0;
    FILE *f = fopen("/proc/self/stat", "re");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = '\0';
    const char *rest = strrchr(text, ')'); /* a program's name may hold anything */
    static const char format[] =
        ") %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
        "%*s %*s %*s %*s %llu";
    return rest && sscanf(rest, format, &ticks) == 1 ? (int64_t)ticks : -1;
}

static void add_times(struct exposition *x)
{
    struct rusage usage;
    struct timespec boot, wall;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        expose_family(x, "process_cpu_seconds_total", "counter",
                      "Time of processors, of user and system together.");
        expose_seconds(x, us_of(&usage.ru_utime) + us_of(&usage.ru_stime), NULL);
    }
    int64_t ticks = start_ticks();
    if (ticks < 0 || clock_gettime(CLOCK_BOOTTIME, &boot) != 0 ||
        clock_gettime(CLOCK_REALTIME, &wall) != 0)
        return;
    int64_t up_us = (int64_t)boot.tv_sec * 1000000 + boot.tv_nsec / 1000;
    int64_t age_us = up_us - ticks * 1000000 / sysconf(_SC_CLK_TCK);
    expose_family(x, "process_start_time_seconds", "gauge", "Unix time of the start.");
    expose_seconds(x, (int64_t)wall.tv_sec * 1000000 + wall.tv_nsec / 1000 - age_us, NULL);
}

char *metrics_text(struct cleat *cleat, const struct loop *loop)
{
    struct exposition x = {0};
    char *text = cleat_metrics(cleat);
    buf_puts(&x.text, text);
    free(text);
    add_answers(&x);
    add_turns(&x, loop);
    add_memory(&x);
    add_files(&x);
    add_times(&x);
    return buf_take(&x.text);
}

void api_get_metrics(struct exchange *x)
{
    x->content_type = PROMETHEUS_TYPE;
    exchange_answer_owned(x, metrics_text(x->cleat, x->loop));
}
