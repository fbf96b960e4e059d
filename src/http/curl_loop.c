#include "http/curl_loop.h"

#include <stdbool.h>
#include <stdlib.h>
#include "base/log.h"
#include "base/mem.h"

static void collect_results(struct curl_loop *c)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(c->multi, &left));) {
        if (m->msg != CURLMSG_DONE)
            continue;
        void *x = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &x);
        c->ended(x, m->data.result);
    }
}

struct socket_watch {
    struct curl_loop *curl;
    int fd;
    struct fd_watch *read, *write;
};

static void run_curl(struct curl_loop *c, curl_socket_t fd, int events)
{
    int running;
    curl_multi_socket_action(c->multi, fd, events, &running);
    collect_results(c);
}

static void on_timer(void *arg)
{
    run_curl(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void on_readable(void *arg)
{
    struct socket_watch *w = arg;
    run_curl(w->curl, w->fd, CURL_CSELECT_IN);
}

static void on_writable(void *arg)
{
    struct socket_watch *w = arg;
    run_curl(w->curl, w->fd, CURL_CSELECT_OUT);
}

static void watch(struct socket_watch *w, struct fd_watch **which, bool wanted)
{
    if (!wanted) {
        fd_watch_free(*which);
        *which = NULL;
    } else if (!*which) {
        bool for_write = which == &w->write;
        *which = fd_watch_new(w->curl->loop, w->fd, for_write,
                              for_write ? on_writable : on_readable, w);
        if (!*which) /* the exchange's deadlines end it */
            log_error("http.watch_failed", KI("fd", w->fd));
    }
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    (void)easy;
    struct socket_watch *w = socket_arg;
    if (!w) {
        if (what == CURL_POLL_REMOVE)
            return 0;
        w = mem_alloc(sizeof *w);
        w->curl = arg;
        w->fd = fd;
        curl_multi_assign(w->curl->multi, fd, w);
    }
    watch(w, &w->read, what == CURL_POLL_IN || what == CURL_POLL_INOUT);
    watch(w, &w->write, what == CURL_POLL_OUT || what == CURL_POLL_INOUT);
    if (what == CURL_POLL_REMOVE) {
        curl_multi_assign(w->curl->multi, fd, NULL);
        free(w);
    }
    return 0;
}

static int set_timer(CURLM *multi, long wait_ms, void *arg)
{
    (void)multi;
    struct curl_loop *c = arg;
    if (wait_ms < 0)
        timer_stop(&c->timer);
    else
        timer_arm(&c->timer, wait_ms);
    return 0;
}

bool curl_loop_open(struct curl_loop *c, struct loop *loop, curl_loop_fn *ended)
{
    c->loop = loop;
    c->ended = ended;
    timer_init(&c->timer, loop, on_timer, c);
    c->multi = curl_multi_init();
    return c->multi &&
           curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, watch_socket) == CURLM_OK &&
           curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c) == CURLM_OK &&
           curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer) == CURLM_OK &&
           curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c) == CURLM_OK;
}

void curl_loop_close(struct curl_loop *c)
{
    curl_multi_cleanup(c->multi);
    timer_stop(&c->timer);
}
