/* The client's parser of server-sent events (WHATWG HTML, section 9.2.6), and ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/mem.h"
#include "http/sse.h"

/* "id|event|data;" of each */
static void note(void *arg, const struct sse_event *e)
{
    buf_printf(arg, "%s|%s|%s;", e->id, e->event ? e->event : "", e->data ? e->data : "-");
}

static void expect(const char *bytes, size_t len, size_t piece, bool fine, const char *wanted)
{
    struct sse s = {0};
    struct buf got = {0};
    bool ok = true;
    buf_puts(&got, "");
    for (size_t at = 0; at < len && ok; at += piece)
        ok = sse_feed(&s, bytes + at, len - at < piece ? len - at : piece, note, &got);
    assert_int_equal(ok, fine);
    assert_string_equal(got.data, wanted);
    buf_free(&got);
    sse_free(&s);
}

static void streams_are_read_in_any_pieces(void **state)
{
    static const struct {
        const char *stream, *events;
    } cases[] = {
        {"data: a\n\n", "|message|a;"},
        {"id: 7\nevent: session.ready\ndata: {}\n\n", "7|session.ready|{};"},
        {"data:a\r\n\r\ndata: b\r\rdata:  c\n\n", "|message|a;|message|b;|message| c;"},
        {"data: a\ndata\ndata: b\n\n", "|message|a\n\nb;"},
        {":\n\n: a comment\n\n", ""},
        {"id: 5\n\n\nid: 5\n\nid: 6\n\n", "5||-;6||-;"},
        {"id: 5\ndata: x\n\ndata: y\n\nid\ndata: z\n\n", "5|message|x;5|message|y;|message|z;"},
        {"retry: 1000\nnonsense: 1\nDATA: no\nevent: lost\n\ndata: x\n\n", "|message|x;"},
        {"data: never dispatched\n", ""},
        {"\xef\xbb\xbf"
         "data: x\n\n",
         "|message|x;"},
        {"data\n\n", "|message|;"},
        {"data: a:b\n\n", "|message|a:b;"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t piece = 1; piece <= strlen(cases[i].stream); piece++)
            expect(cases[i].stream, strlen(cases[i].stream), piece, true, cases[i].events);
}

static void what_is_too_large_or_no_text_is_refused(void **state)
{
    (void)state;
    size_t len = SSE_MAX_EVENT + 64;
    char *large = mem_alloc(len);
    memset(large, 'x', len);
    expect(large, len, 4096, false, ""); /* one line */
    for (size_t i = 0; i < len; i += 1024)
        memcpy(large + i, i ? "\ndata: " : "data: ", i ? 7 : 6);
    expect(large, len, 4096, true, ""); /* the names are not counted, yet … */
    char *more = mem_alloc(2 * len);
    memcpy(more, large, len);
    memcpy(more + len, large, len);
    expect(more, 2 * len, 4096, false, "");
    free(large);
    free(more);
    expect("data: a\0b\n\n", 11, 11, false, "");
    expect(": a\0b\ndata: c\n\n", 16, 16, true, "|message|c;");
}

static void ids_are_plain_numbers(void **state)
{
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "+1",
                                      "-1",
                                      "01",
                                      "00",
                                      "1a",
                                      "0x1",
                                      "1.",
                                      "1,",
                                      "é",
                                      "1\n",
                                      "1000000000000000000",
                                      "99999999999999999999999"};
    int64_t id = -1;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (sse_id_parse(bad[i], &id))
            fail_msg("accepted: %s", bad[i]);
    assert_true(sse_id_parse("0", &id) && id == 0);
    assert_true(sse_id_parse("12", &id) && id == 12);
    assert_true(sse_id_parse("999999999999999999", &id) && id == INT64_C(999999999999999999));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_are_read_in_any_pieces),
        cmocka_unit_test(what_is_too_large_or_no_text_is_refused),
        cmocka_unit_test(ids_are_plain_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
