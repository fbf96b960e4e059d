/* What would harm a test's own process (limits, other users, crashes) runs in a child. */
#ifndef CLEAT_TESTS_OWN_PROCESS_H
#define CLEAT_TESTS_OWN_PROCESS_H

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* fn returns 0, or the test fails. cmocka.h comes first. */
static inline void in_own_process(int (*fn)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(fn());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#endif
