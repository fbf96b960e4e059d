#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "driver_help.h"

/* ---- the loop ---- */

struct until {
    struct loop *loop;
    struct timer timer;
    until_fn *is_true;
    void *arg;
    int64_t end_ms;
    bool held;
};

static void look(void *arg)
{
    struct until *u = arg;
    u->held = u->is_true != NULL && u->is_true(u->arg);
    if (u->held || loop_now_ms(u->loop) >= u->end_ms)
        loop_stop(u->loop);
    else
        timer_arm(&u->timer, 3);
}

bool run_until(struct loop *loop, until_fn *is_true, void *arg, int64_t limit_ms)
{
    struct until u = {.loop = loop, .is_true = is_true, .arg = arg};
    u.end_ms = loop_now_ms(loop) + limit_ms;
    timer_init(&u.timer, loop, look, &u);
    timer_arm(&u.timer, 0);
    loop_run(loop);
    timer_stop(&u.timer);
    return u.held;
}

void run_for(struct loop *loop, int64_t ms)
{
    run_until(loop, NULL, NULL, ms);
}

void take_answer(void *arg, const struct error *e)
{
    struct answer *a = arg;
    a->calls++;
    a->error = e == NULL ? (struct error){.code = ERR_NONE} : *e;
}

static bool is_answered(void *arg)
{
    return ((struct answer *)arg)->calls > 0;
}

enum error_code answer_of(struct loop *loop, struct answer *a)
{
    assert_true(run_until(loop, is_answered, a, 20000));
    assert_int_equal(a->calls, 1);
    a->calls = 0;
    return a->error.code;
}

/* ---- class, directory ---- */

struct class *class_new(void)
{
    struct class *c = mem_alloc(sizeof(*c));
    option_defaults(class_options, c);
    return c;
}

void class_set(struct class *c, const char *key, const char *value)
{
    struct error e = {.code = ERR_NONE};
    if (option_set(class_options, c, key, value, &e) != ERR_NONE)
        fail_msg("%s: %s", key, e.message);
}

void class_free(struct class *c)
{
    option_release(class_options, c);
    free(c);
}

char *directory_new(void)
{
    char *path = mem_strdup("/tmp/cleat-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

void directory_remove(char *path)
{
    char *command = mem_printf("rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
    free(command);
    free(path);
}

/* ---- HTTP ---- */

const char *test_ip(void)
{
    static char ip[INET_ADDRSTRLEN];
    unsigned pid = (unsigned)getpid(); /* of the test itself: forked servers are told theirs */
    if (*ip == '\0')
        snprintf(ip, sizeof(ip), "127.65.%u.%u", 128 + (pid >> 8) % 127, pid % 256);
    return ip;
}

static struct sockaddr_in address(const char *ip, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, ip, &a.sin_addr);
    return a;
}

static bool read_head(int fd, char *head, size_t size)
{
    size_t len = 0;
    while (len < size - 1 && memmem(head, len, "\r\n\r\n", 4) == NULL) {
        ssize_t n = read(fd, head + len, size - 1 - len);
        if (n <= 0)
            return false;
        len += (size_t)n;
    }
    head[len] = '\0';
    return true;
}

static void answer(int fd, const char *head, const char *name, struct web_control *control)
{
    char text[256];
    if (strncmp(head, "GET /health", 11) != 0)
        control->served++;
    int size =
        snprintf(text, sizeof(text),
                 "HTTP/1.1 %d Word\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                 control->status, strlen(name), name);
    (void)!write(fd, text, (size_t)size);
}

static void answer_slowly(int fd, const char *head, const char *name,
                          struct web_control *control)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (control->hold)
        usleep(2000);
    answer(fd, head, name, control);
    _exit(0);
}

/* A slow request is served by a process of its own, so that it holds up nobody. */
static void serve_all(int listener, const char *name, struct web_control *control)
{
    char head[4096];
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0 || !read_head(fd, head, sizeof(head))) {
            close(fd);
            continue;
        }
        if (strncmp(head, "GET /slow", 9) != 0) {
            answer(fd, head, name, control);
        } else if (fork() == 0) {
            close(listener); /* or the port stays taken for as long as this one lives */
            answer_slowly(fd, head, name, control);
        }
        close(fd);
    }
}

struct web web_start(const char *ip, uint16_t port, const char *name)
{
    struct web w;
    struct sockaddr_in a = address(ip, port);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(listener, 64), 0);
    w.control = mmap(NULL, sizeof(*w.control), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    w.control->status = 200;
    w.pid = fork();
    if (w.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve_all(listener, name, w.control);
    }
    close(listener);
    return w;
}

void web_kill(struct web *w)
{
    kill(w->pid, SIGKILL);
    waitpid(w->pid, NULL, 0);
    w->pid = 0;
}

void web_stop(struct web *w)
{
    if (w->pid > 0)
        web_kill(w);
    munmap(w->control, sizeof(*w->control));
}

int web_get(const char *ip, uint16_t port, const char *path, const char *cookie, char *answer,
            size_t size)
{
    char text[512];
    struct sockaddr_in a = address(ip, port);
    struct timeval limit = {.tv_sec = 10};
    int status = 0, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t len = 0;
    ssize_t n;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    int out = snprintf(text, sizeof(text),
                       "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s%s\r\n\r\n", path,
                       cookie == NULL ? "X-None: x" : "Cookie: ", cookie == NULL ? "" : cookie);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
        write(fd, text, (size_t)out) == out)
        while (len < size - 1 && (n = read(fd, answer + len, size - 1 - len)) > 0)
            len += (size_t)n;
    answer[len] = '\0';
    close(fd);
    return sscanf(answer, "HTTP/1.%*d %d", &status) == 1 ? status : 0;
}
