#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/backoff.h"
#include "base/base64.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/option.h"

static void backoff_grows_threefold_up_to_its_cap(void **state)
{
    (void)state;
    const int64_t want[] = {0, 3000, 9000, 27000, 81000, 100000, 100000};
    for (unsigned n = 0; n < 7; n++)
        assert_int_equal(backoff_ms(3000, n, 100000), want[n]);
    assert_int_equal(backoff_ms(1, UINT32_MAX, INT64_MAX), INT64_MAX);
    assert_int_equal(backoff_ms(5000, 1, 1000), 1000);
    assert_int_equal(backoff_ms(0, 3, 1000), 0);
}

/* ---- buf */

static void buf_grows_and_stays_terminated(void **state)
{
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%03d;", i);
    assert_int_equal(b.len, 4000);
    assert_int_equal(strlen(b.data), 4000);
    assert_memory_equal(b.data + 3996, "999;", 5);
    buf_drop(&b, 3996);
    assert_string_equal(b.data, "999;");
    buf_add(&b, "\0x", 2);
    assert_int_equal(b.len, 6);
    buf_drop(&b, 100);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
    buf_free(&b);
    assert_null(b.data);
}

static void buf_gives_its_bytes_away(void **state)
{
    (void)state;
    struct buf b = {0};
    char *nothing = buf_take(&b);
    assert_string_equal(nothing, "");
    free(nothing);
    buf_puts(&b, "text");
    char *text = buf_take(&b);
    assert_string_equal(text, "text");
    assert_null(b.data);
    assert_int_equal(b.len, 0);
    free(text);
    buf_drop(&b, 5);
    buf_add(&b, NULL, 0);
    assert_string_equal(b.data, "");
    buf_free(&b);
}

/* ---- error */

static void every_error_has_a_name_of_its_own_and_a_status(void **state)
{
    (void)state;
    for (int a = 0; a < ERR_COUNT; a++) {
        assert_non_null(error_name((enum error_code)a));
        int status = error_http_status((enum error_code)a);
        assert_true(a == ERR_NONE ? status == 200 : status >= 400 && status < 600);
        for (int b = 0; b < a; b++)
            assert_string_not_equal(error_name((enum error_code)a),
                                    error_name((enum error_code)b));
    }
    assert_string_equal(error_name(ERR_FULL), "full");
    assert_int_equal(error_http_status(ERR_FULL), 429);
    assert_true(error_retryable(ERR_FULL));
    assert_false(error_retryable(ERR_DIED));
    assert_string_equal(error_name((enum error_code)999), "internal");
}

static void error_message_is_printable_text(void **state)
{
    (void)state;
    struct error e;
    assert_int_equal(error_set(&e, ERR_PROTOCOL, "a\nb\x7f%s", "\xff\xc3"), ERR_PROTOCOL);
    assert_string_equal(e.message, "a?b???");
    error_set(&e, ERR_PROTOCOL, "né €𝄞 %s",
              "\xc0\x80 \xed\xa0\x80 \xe0\x80\x80 \xf4\x90\x80\x80");
    assert_string_equal(e.message, "né €𝄞 ?? ??? ??? ????");
    error_set(&e, ERR_CONNECT, "again: %s", e.message);
    assert_string_equal(e.message, "again: né €𝄞 ?? ??? ??? ????");
    assert_int_equal(error_set(NULL, ERR_CONNECT, "nobody listens"), ERR_CONNECT);
}

static void error_message_is_not_cut_inside_a_character(void **state)
{
    (void)state;
    char text[400] = "";
    for (int i = 0; i < 199; i++)
        strcat(text, "é");
    struct error e;
    error_set(&e, ERR_INVALID, "%s", text);
    assert_int_equal(strlen(e.message), sizeof e.message - 1);
    assert_string_equal(e.message + 252, "é?");
}

/* ---- id */

static void id_is_a_uuid_of_version_7(void **state)
{
    (void)state;
    char id[ID_SIZE], later[ID_SIZE];
    const uint8_t ones[10] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    /* the example of RFC 9562 appendix A.6 */
    const uint8_t random[10] = {0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f};
    id_make(id, 0x017f22e279b0, random);
    assert_string_equal(id, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    assert_true(id_valid(id));
    id_make(later, 0x017f22e279b1, (const uint8_t[10]){0});
    assert_true(strcmp(id, later) < 0);
    id_make(id, 0, ones);
    assert_string_equal(id, "00000000-0000-7fff-bfff-ffffffffffff");
}

static void id_valid_refuses_all_else(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f0",
        "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
        "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-c8c4-dc0c0c07398f",
        "017f22e2x79b0-7cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-98c4-dc0c0c0739-f",
        "../../../../../../../../../../../etc",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(id_valid(wrong[i]));
    assert_false(id_valid(NULL));
}

static void hex_goes_both_ways(void **state)
{
    (void)state;
    char text[7];
    uint8_t bytes[3];
    hex_encode(text, "\x00\xa5\xff", 3);
    assert_string_equal(text, "00a5ff");
    assert_true(hex_decode(bytes, 3, "00A5ff"));
    assert_memory_equal(bytes, "\x00\xa5\xff", 3);
    assert_false(hex_decode(bytes, 3, "00a5f"));
    assert_false(hex_decode(bytes, 3, "00a5fff"));
    assert_false(hex_decode(bytes, 3, "00a5fg"));
    assert_false(hex_decode(bytes, 3, "00a5 f"));
}

/* ---- log */

static char logged[512];
static int logged_lines;

static void keep_line(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    mem_copy_string(logged, sizeof logged, line);
    logged_lines++;
}

static void log_quotes_what_needs_it(void **state)
{
    (void)state;
    log_set_sink(keep_line, NULL);
    log_info("session.state", KV("session", "01"), KV("to", "READY"), KI("ms", -12));
    assert_string_equal(logged, "level=info event=session.state session=01 to=READY ms=-12");
    log_warn("x");
    assert_string_equal(logged, "level=warning event=x");
    const char *none = NULL;
    log_error("x", KV("a", "b c"), KV("d", "\"\\\n\x01\x7f"), KV("e", "f=g"), KV("h", none));
    assert_string_equal(logged, "level=error event=x a=\"b c\" d=\"\\\"\\\\\\n\\x01\\x7f\" "
                                "e=\"f=g\"");
    log_set_sink(NULL, NULL);
}

static void log_shows_only_the_beginning_of_a_secret(void **state)
{
    (void)state;
    log_set_sink(keep_line, NULL);
    log_info("x", KPREFIX("cookie", "abcdefgh"), KPREFIX("short", "abcd"),
             KPREFIX("odd", "a b;c"));
    assert_string_equal(logged, "level=info event=x cookie=abcd… short=abcd odd=\"a b;\"…");
    log_set_sink(NULL, NULL);
}

static void log_level_decides_what_is_written(void **state)
{
    (void)state;
    log_set_sink(keep_line, NULL);
    logged_lines = 0;
    log_debug("hidden");
    assert_int_equal(logged_lines, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("shown");
    assert_int_equal(logged_lines, 1);
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("hidden");
    assert_int_equal(logged_lines, 1);
    log_set_level(LOG_LEVEL_INFO);
    log_set_sink(NULL, NULL);
}

/* Runs fn in a process of its own; gives what it wrote to stderr and its wait status. */
static int in_child(void (*fn)(void), char *out, size_t size)
{
    int fds[2], status;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        fn();
        _exit(0);
    }
    close(fds[1]);
    struct buf text = {0};
    char chunk[512];
    ssize_t got;
    while ((got = read(fds[0], chunk, sizeof chunk)) > 0)
        buf_add(&text, chunk, (size_t)got);
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    mem_copy_string(out, size, text.data ? text.data : "");
    buf_free(&text);
    return status;
}

static void log_one_line(void)
{
    log_info("x", KI("n", 1));
}

static void log_goes_to_stderr_with_the_time(void **state)
{
    (void)state;
    char text[256], rest[64];
    int year, month, day, hour, minute, second, ms;
    assert_int_equal(in_child(log_one_line, text, sizeof text), 0);
    assert_int_equal(sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %63[^\n]", &year, &month, &day,
                            &hour, &minute, &second, &ms, rest),
                     8);
    assert_string_equal(rest, "level=info event=x n=1");
}

/* ---- mem */

/* The sanitizer, where there is one, is to fail as calloc does. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void exhaust(void)
{
    volatile size_t huge = SIZE_MAX / 4;
    mem_array(huge, 8);
}

static void out_of_memory_aborts_with_a_line(void **state)
{
    (void)state;
    static char text[65536];
    int status = in_child(exhaust, text, sizeof text);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "level=error event=memory.exhausted\n"));
}

static void strings_are_copied(void **state)
{
    (void)state;
    char small[4], *copy = mem_strndup("abcdef", 3);
    assert_string_equal(copy, "abc");
    free(copy);
    copy = mem_strndup("ab", 9);
    assert_string_equal(copy, "ab");
    free(copy);
    assert_null(mem_strdup(NULL));
    copy = mem_printf("%s-%d", "x", 7);
    assert_string_equal(copy, "x-7");
    mem_wipe(copy, 3);
    assert_memory_equal(copy, "\0\0\0", 3);
    free(copy);
    mem_copy_string(small, sizeof small, "abcdef");
    assert_string_equal(small, "abc");
    mem_copy_string(small, sizeof small, "ab\xc3\xa4");
    assert_string_equal(small, "ab");
    mem_copy_string(small, sizeof small, "a\xc3\xa4");
    assert_string_equal(small, "a\xc3\xa4");
    mem_copy_string(small, sizeof small, "\xe2\x82\xac\x80\x80"); /* not UTF-8: cut anywhere */
    assert_string_equal(small, "");
    int *numbers = mem_array(3, sizeof *numbers);
    assert_int_equal(numbers[2], 0);
    free(numbers);
}

/* ---- option */

struct sample {
    int64_t idle;
    bool loud;
    int sandbox;
    char *name;
    char **hosts;
    char *nothing;
};

static const struct option options[] = {
    {"idle_timeout_s", OPTION_INT, 1, 86400, NULL, "600", "", offsetof(struct sample, idle),
     false},
    {"loud", OPTION_BOOL, 0, 0, NULL, "true", "", offsetof(struct sample, loud), false},
    {"sandbox", OPTION_CHOICE, 0, 0, "auto|bwrap|none", "bwrap", "",
     offsetof(struct sample, sandbox), false},
    {"name", OPTION_STRING, 2, 8, NULL, "main", "", offsetof(struct sample, name), false},
    {"hosts", OPTION_LIST, 0, 0, NULL, "a, b", "", offsetof(struct sample, hosts), false},
    {"nothing", OPTION_STRING, 0, 0, NULL, NULL, "", offsetof(struct sample, nothing), false},
    {0},
};

static int make_sample(void **state)
{
    struct sample *s = mem_alloc(sizeof *s);
    option_defaults(options, s);
    *state = s;
    return 0;
}

static int free_sample(void **state)
{
    option_release(options, *state);
    free(*state);
    return 0;
}

static void options_begin_with_their_defaults(void **state)
{
    struct sample *s = *state;
    assert_int_equal(s->idle, 600);
    assert_true(s->loud);
    assert_int_equal(s->sandbox, 1);
    assert_string_equal(s->name, "main");
    assert_string_equal(s->hosts[0], "a");
    assert_string_equal(s->hosts[1], "b");
    assert_null(s->hosts[2]);
    assert_null(s->nothing);
}

static void set_ok(struct sample *s, const char *key, const char *value, const char *shown)
{
    struct error e = {0};
    assert_int_equal(option_set(options, s, key, value, &e), ERR_NONE);
    char *text = option_value(option_find(options, key), s);
    assert_string_equal(text, shown);
    free(text);
}

static void options_take_what_is_allowed(void **state)
{
    struct sample *s = *state;
    set_ok(s, "idle_timeout_s", "86400", "86400");
    set_ok(s, "loud", "false", "false");
    set_ok(s, "sandbox", "none", "none");
    set_ok(s, "name", "other", "other");
    set_ok(s, "hosts", " x ,y z,w ", "x,y z,w");
    set_ok(s, "hosts", "  ", "");
    set_ok(s, "nothing", "", "");
}

static void options_say_what_is_allowed(void **state)
{
    static const char *const cases[][3] = {
        {"idle_timeout_s", "0", "idle_timeout_s: 0 is not within 1..86400"},
        {"idle_timeout_s", "99999999999999999999",
         "idle_timeout_s: 99999999999999999999 is not within 1..86400"},
        {"idle_timeout_s", "1x",
         "idle_timeout_s: \"1x\" is not a whole number within 1..86400"},
        {"idle_timeout_s", " 1",
         "idle_timeout_s: \" 1\" is not a whole number within 1..86400"},
        {"idle_timeout_s", "", "idle_timeout_s: \"\" is not a whole number within 1..86400"},
        {"idle_timeout_s", "-", "idle_timeout_s: \"-\" is not a whole number within 1..86400"},
        {"loud", "yes", "loud: \"yes\" is not one of true | false"},
        {"sandbox", "x", "sandbox: \"x\" is not one of auto | bwrap | none"},
        {"sandbox", "auto|bwrap", "sandbox: \"auto|bwrap\" is not one of auto | bwrap | none"},
        {"sandbox", "", "sandbox: \"\" is not one of auto | bwrap | none"},
        {"name", "a", "name: 1 bytes is not a length within 2..8"},
        {"name", "abcdefghi", "name: 9 bytes is not a length within 2..8"},
        {"name", "a\nb", "name: control characters are not allowed"},
        {"hosts", "a,,b", "hosts: \"a,,b\" has an empty entry"},
        {"hosts", "a,", "hosts: \"a,\" has an empty entry"},
        {"hosts", "a\tb", "hosts: control characters are not allowed"},
        {"colour", "red", "colour: there is no such option"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error e = {0};
        assert_int_equal(option_set(options, *state, cases[i][0], cases[i][1], &e), ERR_CONFIG);
        assert_string_equal(e.message, cases[i][2]);
    }
    options_begin_with_their_defaults(state);
}

static void options_describe_their_range(void **state)
{
    (void)state;
    static const char *const want[] = {
        "1..86400",           "true | false",         "auto | bwrap | none",
        "text of 2..8 bytes", "comma-separated list", "text",
    };
    for (int i = 0; i < 6; i++) {
        char *text = option_range(&options[i]);
        assert_string_equal(text, want[i]);
        free(text);
    }
}

/* The vectors of RFC 4648, section 10. */
static void base64_is_that_of_the_rfc(void **state)
{
    static const char *const plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
    static const char *const text[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                       "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    static const char *const bad[] = {"Zg",   "Zg=",  "Z===",     "====", "Zh==",
                                      "Zm9=", "Zm-_", "Zg==Zg==", "=",    "Zm9v\n"};
    char *out;
    size_t len;
    (void)state;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        char *encoded = base64_encode(plain[i], strlen(plain[i]));
        assert_string_equal(encoded, text[i]);
        free(encoded);
        assert_true(base64_decode(text[i], &out, &len));
        assert_int_equal(len, strlen(plain[i]));
        assert_string_equal(out, plain[i]);
        free(out);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(base64_decode(bad[i], &out, &len));
    assert_true(base64_decode("AP+/", &out, &len));
    assert_int_equal(len, 3);
    assert_memory_equal(out, "\0\xff\xbf", 3);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backoff_grows_threefold_up_to_its_cap),
        cmocka_unit_test(buf_grows_and_stays_terminated),
        cmocka_unit_test(buf_gives_its_bytes_away),
        cmocka_unit_test(every_error_has_a_name_of_its_own_and_a_status),
        cmocka_unit_test(error_message_is_printable_text),
        cmocka_unit_test(error_message_is_not_cut_inside_a_character),
        cmocka_unit_test(id_is_a_uuid_of_version_7),
        cmocka_unit_test(id_valid_refuses_all_else),
        cmocka_unit_test(hex_goes_both_ways),
        cmocka_unit_test(log_quotes_what_needs_it),
        cmocka_unit_test(log_shows_only_the_beginning_of_a_secret),
        cmocka_unit_test(log_level_decides_what_is_written),
        cmocka_unit_test(log_goes_to_stderr_with_the_time),
        cmocka_unit_test(out_of_memory_aborts_with_a_line),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test_setup_teardown(options_begin_with_their_defaults, make_sample,
                                        free_sample),
        cmocka_unit_test_setup_teardown(options_take_what_is_allowed, make_sample, free_sample),
        cmocka_unit_test_setup_teardown(options_say_what_is_allowed, make_sample, free_sample),
        cmocka_unit_test(base64_is_that_of_the_rfc),
        cmocka_unit_test_setup_teardown(options_describe_their_range, make_sample, free_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
