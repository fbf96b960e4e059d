#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"
#include "loop/ask.h"
#include "spin.h"

static struct loop *loop;
static char dir[64], path[96];
static int listener;
static int answers;
static struct error error;
static char *answer;
static size_t answer_len;

static int make_peer(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/cleat-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/socket", dir);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    mem_copy_string(address.sun_path, sizeof address.sun_path, path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 0), 0);
    loop = loop_new(NULL);
    answers = 0;
    answer = NULL;
    return 0;
}

static int free_peer(void **state)
{
    (void)state;
    loop_free(loop);
    close(listener);
    free(answer);
    unlink(path);
    return rmdir(dir);
}

static void on_answer(void *arg, const struct error *e, const char *text, size_t len)
{
    (void)arg;
    answers++;
    error = e ? *e : (struct error){0};
    free(answer);
    answer = mem_strdup(text);
    answer_len = len;
    if (text)
        assert_int_equal(text[len], '\0');
}

/* What the peer does with its one connection, in a process of its own. */
static pid_t peer(void (*fn)(int fd))
{
    pid_t pid = fork();
    if (pid == 0) {
        int fd = accept(listener, NULL, NULL);
        fn(fd);
        _exit(0);
    }
    return pid;
}

static void ask_and_wait(const char *text, size_t max, int64_t deadline_ms)
{
    assert_non_null(ask_start(loop, path, text, max, deadline_ms, on_answer, NULL));
    assert_int_equal(answers, 0);
    assert_true(spin(loop, &answers, 1, 10000));
    spin_for(loop, 10);
    assert_int_equal(answers, 1);
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void echo_in_pieces(int fd)
{
    char text[100];
    ssize_t got = read(fd, text, sizeof text);
    for (ssize_t i = 0; i < got; i++) {
        usleep(1000);
        if (write(fd, text + i, 1) != 1)
            _exit(1);
    }
}

static void the_whole_answer_arrives(void **state)
{
    (void)state;
    pid_t pid = peer(echo_in_pieces);
    ask_and_wait("show info\n", 10, 5000);
    assert_string_equal(error.message, "");
    assert_string_equal(answer, "show info\n");
    assert_int_equal(answer_len, 10);
    end(pid);
}

static void read_slowly_and_count(int fd)
{
    static char chunk[65536];
    size_t total = 0;
    while (total < 3000000) {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got <= 0)
            _exit(1);
        total += (size_t)got;
    }
    dprintf(fd, "%zu", total);
}

static void a_long_text_is_sent_completely(void **state)
{
    (void)state;
    char *text = mem_alloc(3000001);
    memset(text, 'x', 3000000);
    pid_t pid = peer(read_slowly_and_count);
    ask_and_wait(text, 100, 10000);
    free(text);
    assert_string_equal(answer, "3000000");
    end(pid);
}

static void flood(int fd)
{
    static char chunk[65536];
    while (write(fd, chunk, sizeof chunk) > 0)
        continue;
}

static void an_answer_that_is_too_long_is_refused(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    pid_t pid = peer(flood);
    ask_and_wait("x\n", 100000, 10000);
    assert_int_equal(error.code, ERR_TOO_LARGE);
    assert_null(answer);
    end(pid);
}

static void stay_silent(int fd)
{
    (void)fd;
    pause();
}

static void a_silent_peer_meets_the_deadline(void **state)
{
    (void)state;
    pid_t pid = peer(stay_silent);
    int64_t start_ms = loop_now_ms(loop);
    ask_and_wait("x\n", 100, 80);
    assert_int_equal(error.code, ERR_TIMEOUT);
    assert_in_range(loop_now_ms(loop) - start_ms, 80, 5000);
    end(pid);
}

static void answer_half_and_stay(int fd)
{
    dprintf(fd, "half");
    pause();
}

static void half_an_answer_is_none(void **state)
{
    (void)state;
    pid_t pid = peer(answer_half_and_stay);
    ask_and_wait("x\n", 100, 80);
    assert_int_equal(error.code, ERR_TIMEOUT);
    assert_null(answer);
    end(pid);
}

static void read_and_close(int fd)
{
    char text[100];
    if (read(fd, text, sizeof text) < 0)
        _exit(1);
}

static void close_unread(int fd)
{
    char c;
    recv(fd, &c, 1, MSG_PEEK);
    close(fd); /* with unread bytes: the other side sees a reset */
}

static void a_peer_that_closes_has_not_answered(void **state)
{
    (void)state;
    pid_t pid = peer(read_and_close);
    ask_and_wait("x\n", 100, 5000);
    assert_int_equal(error.code, ERR_RESET);
    assert_non_null(strstr(error.message, "closed without an answer"));
    end(pid);
    answers = 0;
    pid = peer(close_unread);
    ask_and_wait("x\n", 100, 5000);
    assert_int_equal(error.code, ERR_RESET);
    assert_non_null(strstr(error.message, "Connection reset"));
    end(pid);
}

static void a_peer_that_dies_while_we_send_is_a_reset(void **state)
{
    (void)state;
    char *text = mem_alloc(3000001);
    memset(text, 'x', 3000000);
    pid_t pid = peer(close_unread);
    ask_and_wait(text, 100, 5000);
    free(text);
    assert_int_equal(error.code, ERR_RESET);
    end(pid);
}

static void nobody_at_the_socket_is_a_failed_connection(void **state)
{
    (void)state;
    close(listener);
    ask_and_wait("x\n", 100, 5000);
    assert_int_equal(error.code, ERR_CONNECT);
    assert_non_null(strstr(error.message, "Connection refused"));
    answers = 0;
    unlink(path);
    ask_and_wait("x\n", 100, 5000);
    assert_int_equal(error.code, ERR_CONNECT);
    assert_non_null(strstr(error.message, "No such file"));
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_non_null(ask_start(loop, longer, "x\n", 100, 1000, on_answer, NULL));
    assert_int_equal(answers, 0);
    assert_true(spin(loop, &answers, 1, 5000));
    assert_int_equal(error.code, ERR_CONNECT);
    assert_non_null(strstr(error.message, "too long"));
}

/* Connections that wait in the backlog until it is full. */
static int fill_backlog(int fds[], int max)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    mem_copy_string(address.sun_path, sizeof address.sun_path, path);
    for (int i = 0; i < max; i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connect(fds[i], (struct sockaddr *)&address, sizeof address) != 0) {
            close(fds[i]);
            return i;
        }
    }
    return max;
}

static void a_full_backlog_is_waited_for(void **state)
{
    (void)state;
    int fds[16], count = fill_backlog(fds, 16);
    assert_in_range(count, 1, 15);
    ask_and_wait("x\n", 100, 60);
    assert_int_equal(error.code, ERR_CONNECT);
    assert_non_null(strstr(error.message, "not accepted in time"));
    answers = 0;
    ask_start(loop, path, "hello\n", 100, 5000, on_answer, NULL);
    spin_for(loop, 30);
    for (int i = 0; i < count; i++) {
        close(accept(listener, NULL, NULL));
        close(fds[i]);
    }
    pid_t pid = peer(echo_in_pieces);
    assert_true(spin(loop, &answers, 1, 10000));
    assert_string_equal(answer, "hello\n");
    end(pid);
}

static void without_descriptors_it_is_not_the_peer_s_fault(void **state)
{
    (void)state;
    struct rlimit old;
    int next = dup(0);
    close(next);
    getrlimit(RLIMIT_NOFILE, &old);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next, old.rlim_max});
    ask_start(loop, path, "x\n", 100, 5000, on_answer, NULL);
    bool answered = spin(loop, &answers, 1, 5000);
    setrlimit(RLIMIT_NOFILE, &old);
    assert_true(answered);
    assert_int_equal(error.code, ERR_INTERNAL);
}

static void a_cancelled_question_is_forgotten(void **state)
{
    (void)state;
    struct ask *a = ask_start(loop, path, "x\n", 100, 30, on_answer, NULL);
    ask_cancel(a);
    ask_cancel(NULL);
    a = ask_start(loop, path, "x\n", 100, 30, on_answer, NULL);
    spin_for(loop, 10); /* now it is connected and has asked */
    ask_cancel(a);
    spin_for(loop, 60);
    assert_int_equal(answers, 0);
}

#define with_peer(test) cmocka_unit_test_setup_teardown(test, make_peer, free_peer)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_peer(the_whole_answer_arrives),
        with_peer(a_long_text_is_sent_completely),
        with_peer(an_answer_that_is_too_long_is_refused),
        with_peer(a_silent_peer_meets_the_deadline),
        with_peer(half_an_answer_is_none),
        with_peer(a_peer_that_closes_has_not_answered),
        with_peer(a_peer_that_dies_while_we_send_is_a_reset),
        with_peer(nobody_at_the_socket_is_a_failed_connection),
        with_peer(a_path_that_is_too_long_is_refused),
        with_peer(a_full_backlog_is_waited_for),
        with_peer(without_descriptors_it_is_not_the_peer_s_fault),
        with_peer(a_cancelled_question_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
