/* Chains of processes, each of which forks the next and ends: one that is met in proc(5) is
 * gone already. They end by themselves after 40 s, as the program does. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define CHAINS 4
#define LIFE_S 40

static time_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

int main(void)
{
    time_t end = now() + LIFE_S;
    for (int i = 0; i < CHAINS; i++)
        if (fork() == 0) {
            while (now() < end)
                if (fork() != 0)
                    _exit(0);
            _exit(0);
        }
    puts("started");
    fflush(stdout);
    sleep(LIFE_S);
    return 0;
}
