#include "executor/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static int64_t files_done, bytes_done;

void report_total(size_t files, int64_t bytes)
{
    dprintf(STDOUT_FILENO, "total %zu %" PRId64 "\n", files, bytes);
}

void report_done(void *unused, int64_t bytes, bool whole_file)
{
    (void)unused;
    files_done += whole_file;
    bytes_done += bytes;
    dprintf(STDOUT_FILENO, "done %" PRId64 " %" PRId64 "\n", files_done, bytes_done);
}

int64_t report_bytes_done(void)
{
    return bytes_done;
}

int report_failure(const struct error *e)
{
    dprintf(STDOUT_FILENO, "failed %s\n", e->message);
    return 1;
}
