/* What HAProxy's Runtime API answers, and what it is told next. Bytes: choices, then the
 * answer. */
#include <stdlib.h>
#include <string.h>
#include "driver/haproxy_state.h"
#include "driver/haproxy_step.h"
#include "fuzz.h"

static void check_server(const struct haproxy_state *state, const struct haproxy_server *s)
{
    must(haproxy_state_find(state, s->name) == s);
    must(!s->rotating || !s->maint);
    must(s->sessions >= -1 && s->health >= 0 && s->rise >= 0);
    must(!strpbrk(s->name, "\n ") && !strpbrk(s->ip, "\n ") && !strpbrk(s->check, "\n,"));
}

static void check_state(const struct haproxy_state *state)
{
    size_t rotating = 0;
    must(state->largest_id >= 0 && state->largest_id < INT64_MAX);
    for (size_t i = 0; i < state->count; i++) {
        check_server(state, &state->servers[i]);
        rotating += state->servers[i].rotating;
        must(i == 0 || strcmp(state->servers[i - 1].name, state->servers[i].name) < 0);
    }
    must(rotating == state->rotating);
    must(!haproxy_state_find(state, "") || state->count > 0);
}

/* Whatever is listed: one command or two, about our server, and never one that HAProxy would
 * read as more. */
static void check_step(const struct haproxy_state *state, bool leaving, int64_t for_ms)
{
    struct class class = {.haproxy_backend = (char[]){"be"},
                          .check_interval_ms = 1000,
                          .check_fall = 3,
                          .check_rise = 2};
    struct haproxy_wish wish = {.id = "s-1",
                                .ip = "127.0.0.2",
                                .port = 8080,
                                .leaving = leaving,
                                .leaving_for_ms = for_ms};
    const struct haproxy_server *s = haproxy_state_find(state, wish.id);
    enum haproxy_step step = haproxy_step_next(&class, &wish, s);
    int64_t last_id = state->largest_id;
    struct buf out = {0};
    haproxy_step_write(&class, &wish, step, &last_id, &out);
    must((step == STEP_NONE) == (out.len == 0));
    must(step != STEP_ENABLE || (s && s->maint && !s->failing));
    must(step != STEP_DELETE || (s && s->maint && s->sessions == 0 && wish.leaving));
    must(step != STEP_ADD || (!s && last_id == state->largest_id + 1));
    if (out.len > 0) {
        must(out.data[out.len - 1] == ';' && strstr(out.data, " be/s-1"));
        must(!strchr(out.data, '\n') && out.len < 256);
    }
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    struct haproxy_state state;
    struct error e = {0};
    size_t len;
    bool leaving = fuzz_number(&f, 2);
    int64_t for_ms = fuzz_byte(&f) * 40;
    char *answer = fuzz_bytes(&f, &len);
    enum error_code code = haproxy_state_read(&state, "be", answer, len, &e);
    if (code != ERR_NONE) {
        must(!state.servers && !state.text && state.count == 0);
        must(code == ERR_PROTOCOL || code == ERR_CONFIG);
        fuzz_check_error(code, &e);
    }
    check_state(&state);
    check_step(&state, leaving, for_ms);
    haproxy_state_free(&state);
    e = (struct error){0};
    code = haproxy_refusal(answer, len, &e);
    if (code != ERR_NONE)
        fuzz_check_error(code, &e);
    free(answer);
    return 0;
}
