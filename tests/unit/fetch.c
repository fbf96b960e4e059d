#include "fetch.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/mem.h"

size_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

void world_open(struct world *w)
{
    w->loop = loop_new(NULL);
    w->client = http_client_new(w->loop);
    w->fds = count_fds();
}

struct http_client_stats world_stats(const struct world *w)
{
    struct http_client_stats stats;
    http_client_get_stats(w->client, &stats);
    return stats;
}

void world_close(struct world *w)
{
    assert_int_equal(count_fds(), w->fds);
    assert_int_equal(world_stats(w).connections_open, 0);
    assert_int_equal(world_stats(w).shared_connections, 0);
    assert_int_equal(world_stats(w).shares, 0);
    http_client_free(w->client);
    loop_free(w->loop);
}

static void stop_loop(void *loop)
{
    loop_stop(loop);
}

void run_for(struct world *w, int64_t ms)
{
    struct timer timer;
    timer_init(&timer, w->loop, stop_loop, w->loop);
    timer_arm(&timer, ms);
    loop_run(w->loop);
}

void wait_until(struct world *w, bool (*right)(void *), void *arg)
{
    int64_t end_ms = loop_now_ms(w->loop) + 5000;
    while (!right(arg)) {
        if (loop_now_ms(w->loop) > end_ms)
            fail_msg("waited 5 s in vain");
        run_for(w, 2);
    }
}

struct awaited {
    const int *calls;
    int wanted;
};

static bool have_come(void *arg)
{
    const struct awaited *a = arg;
    return *a->calls >= a->wanted;
}

void wait_calls(struct world *w, const int *calls, int wanted)
{
    wait_until(w, have_come, &(struct awaited){calls, wanted});
}

void keep_answer(void *arg, const struct http_answer *answer)
{
    static int answers;
    struct got *got = arg;
    struct buf head = {0};
    got->calls++;
    got->order = ++answers;
    got->answer = *answer;
    got->answer.body = NULL;
    got->answer.headers = NULL;
    free(got->body);
    free(got->head);
    got->body = mem_alloc(answer->body_len + 1);
    memcpy(got->body, answer->body, answer->body_len + 1); /* with its NUL */
    buf_puts(&head, "\n");
    for (size_t i = 0; i < answer->header_count; i++)
        buf_printf(&head, "%s: %s\n", answer->headers[i].name, answer->headers[i].value);
    got->head = buf_take(&head);
}

void got_clear(struct got *got)
{
    free(got->body);
    free(got->head);
    *got = (struct got){0};
}

struct http_request request_to(const char *url)
{
    return (struct http_request){.method = "GET",
                                 .url = url,
                                 .connect_timeout_ms = 5000,
                                 .first_byte_timeout_ms = 5000,
                                 .total_timeout_ms = 5000,
                                 .max_answer = 1 << 20};
}

void fetch(struct got *got, struct world *w, struct http_share *share,
           const struct http_request *request)
{
    got_clear(got);
    http_start(share, request, keep_answer, got);
    assert_int_equal(got->calls, 0); /* never inline */
    wait_calls(w, &got->calls, 1);
}

void fetch_url(struct got *got, struct world *w, struct http_share *share, const char *url)
{
    struct http_request request = request_to(url);
    fetch(got, w, share, &request);
}
