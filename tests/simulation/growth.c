#include "growth.h"
#include <dirent.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#define RESIDENT_KB_MORE 8192 /* the allocator's own, and the largest world's holes */

static int64_t first_kb, first_descriptors;

static int64_t resident_kb(void)
{
    long long pages = 0;
    malloc_trim(0);
    FILE *f = fopen("/proc/self/statm", "re"); /* proc(5): the second number */
    if (f && fscanf(f, "%*s %lld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static int64_t count_descriptors(void)
{
    int64_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

void growth_begin(void)
{
    first_kb = resident_kb();
    first_descriptors = count_descriptors();
}

bool growth_is_flat(void)
{
    int64_t kb = resident_kb(), descriptors = count_descriptors();
    bool flat = kb > 0 && kb <= first_kb + RESIDENT_KB_MORE && descriptors == first_descriptors;
    printf("%s: resident %" PRId64 " kB after a tenth, %" PRId64 " kB at the end; descriptors "
           "%" PRId64 " and %" PRId64 "\n",
           flat ? "flat" : "GREW", first_kb, kb, first_descriptors, descriptors);
    return flat;
}
