/* The executor's parts that need no process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"
#include "executor/config.h"
#include "executor/enter.h"
#include "executor/execution.h"
#include "executor/helper.h"
#include "executor/nonces.h"
#include "executor/output.h"
#include "executor/process.h"
#include "executor/program.h"
#include "executor/record.h"
#include "executor/tree.h"
#include "executor/utf8.h"
#include "loop/child.h"
#include "own_process.h"

static char *make_root(void)
{
    char *root = mem_strdup("/tmp/test-executor-XXXXXX");
    assert_non_null(mkdtemp(root));
    return root;
}

static void remove_root(char *root)
{
    char *command = mem_printf("rm -rf '%s'", root);
    assert_int_equal(system(command), 0);
    free(command);
    free(root);
}

static void put(const char *root, const char *name, const char *text)
{
    char *path = mem_printf("%s/%s", root, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    free(path);
}

/* ---- configuration */

#define SECRET "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void set_environment(void)
{
    clearenv();
    setenv("SESSION_ID", "s-1", 1);
    setenv("CLEAT_SECRET", SECRET, 1);
    setenv("CLEAT_LISTEN", "127.0.0.9:8080", 1);
    setenv("CLEAT_WORKSPACE", "/w", 1);
}

static void test_config(void **state)
{
    (void)state;
    struct config c;
    struct error e;
    set_environment();
    setenv("CLEAT_ARTIFACTS", "file:///store", 1);
    setenv("CLEAT_SANDBOX", "none", 1);
    setenv("CLEAT_MEMORY_MB", "512", 1);
    assert_int_equal(config_read(&c, &e), ERR_NONE);
    assert_string_equal(c.session, "s-1");
    assert_int_equal(c.secret[1], 0x11);
    assert_string_equal(c.ip, "127.0.0.9");
    assert_int_equal(c.port, 8080);
    assert_string_equal(c.home, "/w/home");
    assert_string_equal(c.executions, "/w/debug/executions");
    assert_string_equal(c.artifact_dir, "/store");
    assert_int_equal(c.sandbox, SANDBOX_NONE);
    assert_int_equal(c.network, NETWORK_NONE);
    assert_int_equal(c.memory_mb, 512);
    assert_int_equal(c.attempt, 1);
    config_release(&c);
    assert_int_equal(c.secret[1], 0);
}

static void test_config_secret_is_erased(void **state)
{
    (void)state;
    struct config c;
    struct error e;
    set_environment();
    char *bytes = getenv("CLEAT_SECRET");
    setenv("SESSION_ID", "", 1); /* also when the rest is wrong */
    assert_int_equal(config_read(&c, &e), ERR_CONFIG);
    assert_null(getenv("CLEAT_SECRET"));
    for (size_t i = 0; i < strlen(SECRET); i++)
        assert_int_equal(bytes[i], 0);
    config_release(&c);
}

static void test_config_ipv6(void **state)
{
    (void)state;
    struct config c;
    struct error e;
    set_environment();
    setenv("CLEAT_LISTEN", "[::1]:80", 1);
    assert_int_equal(config_read(&c, &e), ERR_NONE);
    assert_string_equal(c.ip, "::1");
    config_release(&c);
}

static void test_config_s3(void **state)
{
    (void)state;
    struct config c;
    struct error e;
    set_environment();
    setenv("CLEAT_ARTIFACTS", "s3://my-bucket/a/b/", 1);
    assert_int_equal(config_read(&c, &e), ERR_NONE);
    assert_string_equal(c.artifact_s3.bucket, "my-bucket");
    assert_string_equal(c.artifact_s3.prefix, "a/b");
    assert_null(c.artifact_dir);
    assert_true(config_has_store(&c));
    config_release(&c);
}

static void test_config_takes_the_helpers_variables(void **state)
{
    (void)state;
    struct config c;
    struct error e;
    set_environment();
    setenv("AWS_SECRET_ACCESS_KEY", "hush", 1);
    setenv("AWS_REGION", "eu-central-1", 1);
    setenv("HOME", "/root", 1);
    setenv("AWSOME", "1", 1);
    char *bytes = getenv("AWS_SECRET_ACCESS_KEY");
    setenv("SESSION_ID", "", 1); /* also when the rest is wrong */
    assert_int_equal(config_read(&c, &e), ERR_CONFIG);
    assert_memory_equal(bytes, "\0\0\0\0", 4);
    assert_null(getenv("AWS_SECRET_ACCESS_KEY"));
    assert_null(getenv("AWS_REGION"));
    assert_null(getenv("HOME"));
    assert_non_null(getenv("AWSOME"));
    assert_int_equal(json_object_size(c.helper_env), 3);
    assert_string_equal(json_string_value(json_object_get(c.helper_env, "AWS_REGION")),
                        "eu-central-1");
    config_release(&c);
}

static void test_config_refuses(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"SESSION_ID", "a/b"},
                                         {"SESSION_ID", ".hidden"},
                                         {"SESSION_ID", ""},
                                         {"CLEAT_SECRET", "00"},
                                         {"CLEAT_LISTEN", ":80"},
                                         {"CLEAT_LISTEN", "1.2.3.4"},
                                         {"CLEAT_LISTEN", "1.2.3.4:"},
                                         {"CLEAT_LISTEN", "1.2.3.4:+8"},
                                         {"CLEAT_LISTEN", "1.2.3.4:70000"},
                                         {"CLEAT_WORKSPACE", "w"},
                                         {"CLEAT_ARTIFACTS", "/dir"},
                                         {"CLEAT_ARTIFACTS", "file://dir"},
                                         {"CLEAT_CPU_S", "x"},
                                         {"CLEAT_ATTEMPT", "0"},
                                         {"CLEAT_NETWORK", "some"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct config c;
        struct error e;
        set_environment();
        setenv(bad[i][0], bad[i][1], 1);
        assert_int_not_equal(config_read(&c, &e), ERR_NONE);
        assert_non_null(strstr(e.message, bad[i][0]));
        config_release(&c);
    }
}

/* ---- text */

static void check_utf8(const char *in, size_t len, const char *expected)
{
    struct buf b = {0};
    buf_puts(&b, ">");
    utf8_add(&b, in, len);
    assert_string_equal(b.data + 1, expected);
    buf_free(&b);
}

#define BAD "\xef\xbf\xbd"

static void test_utf8(void **state)
{
    (void)state;
    check_utf8("", 0, "");
    check_utf8("plain\n\t\x7f", 8, "plain\n\t\x7f");
    check_utf8("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9,
               "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    check_utf8("a\0b", 3, "a" BAD "b");
    check_utf8("\xff", 1, BAD);
    check_utf8("\xc3", 1, BAD);                 /* cut off */
    check_utf8("\xe2\x82", 2, BAD BAD);         /* cut off */
    check_utf8("\xe2\x82z", 3, BAD BAD "z");    /* broken off */
    check_utf8("\xc0\xaf", 2, BAD BAD);         /* overlong */
    check_utf8("\xe0\x9f\xbf", 3, BAD BAD BAD); /* overlong */
    check_utf8("\xed\xa0\x80", 3, BAD BAD BAD); /* surrogate */
    check_utf8("\xf0\x8f\xbf\xbf", 4, BAD BAD BAD BAD);
    check_utf8("\xf4\x90\x80\x80", 4, BAD BAD BAD BAD);
    check_utf8("\xf4\x8f\xbf\xbf", 4, "\xf4\x8f\xbf\xbf");
}

static void test_output(void **state)
{
    (void)state;
    struct output o;
    struct error e = {0};
    struct buf text = {0};
    char *root = make_root(), *path = mem_printf("%s/out", root);
    assert_int_equal(output_open(&o, path, 10, &e), ERR_NONE);
    assert_int_equal(write(o.writer,
                           "0123456\xff"
                           "89abcdef",
                           16),
                     16);
    close(o.writer);
    o.writer = -1;
    output_finish(&o);
    assert_true(o.ended);
    assert_int_equal(o.total, 16);
    assert_int_equal(o.kept, 10);
    assert_true(output_truncated(&o));
    assert_int_equal(output_text(&o, &text, &e), ERR_NONE);
    assert_string_equal(text.data,
                        "0123456" BAD "89\n[output truncated: kept 10 of 16 bytes]\n");
    buf_drop(&text, text.len);
    assert_int_equal(output_read(&o, 3, 4, &text, &e), ERR_NONE);
    assert_memory_equal(text.data, "3456", 4);
    assert_int_equal(text.len, 4);
    assert_int_equal(output_read(&o, 11, 4, &text, &e), ERR_NONE);
    assert_int_equal(text.len, 4);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(output_read(&o, 0, 4, &text, &e), ERR_INTERNAL);
    buf_free(&text);
    output_release(&o);
    free(path);
    remove_root(root);
}

static void test_output_without_directory(void **state)
{
    (void)state;
    struct output o;
    struct error e = {0};
    assert_int_equal(output_open(&o, "/proc/none/out", 10, &e), ERR_INTERNAL);
    output_release(&o);
}

static void test_output_on_a_full_disk(void **state)
{
    (void)state;
    struct output o;
    struct error e = {0};
    char *root = make_root(), *path = mem_printf("%s/out", root);
    assert_int_equal(output_open(&o, path, 10, &e), ERR_NONE);
    close(o.file);
    o.file = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(o.writer, "abc", 3), 3);
    close(o.writer);
    o.writer = -1;
    output_finish(&o);
    assert_true(o.failed);
    assert_int_equal(o.kept, 0);
    assert_int_equal(o.total, 3);
    assert_true(output_truncated(&o));
    output_release(&o);
    free(path);
    remove_root(root);
}

static void no_change(void *arg, struct execution *x)
{
    (void)arg;
    fail_msg("changed called for %s", x->id);
}

static void test_too_many_executions(void **state)
{
    (void)state;
    struct config c = {0};
    struct error e = {0};
    struct executions all;
    struct loop *loop = loop_new(NULL);
    executions_init(&all, loop, &c, no_change, NULL);
    all.started = EXECUTIONS_MAX;
    assert_null(executions_start(&all, &(struct execution_request){.code = "pass"}, &e));
    assert_int_equal(e.code, ERR_FULL);
    executions_release(&all);
    loop_free(loop);
}

/* ---- small parsers */

static void test_process_line(void **state)
{
    (void)state;
    struct process p;
    assert_true(process_parse("12 (a) b) S 7 1 1 0", &p));
    assert_int_equal(p.pid, 12);
    assert_int_equal(p.parent, 7);
    assert_false(p.zombie);
    assert_true(process_parse("12 ((Z 9) Z 3 1", &p));
    assert_int_equal(p.parent, 3);
    assert_true(p.zombie);
    assert_false(process_parse("", &p));
    assert_false(process_parse("12 (a) S", &p));
    assert_false(process_parse("x (a) S 1", &p));
}

#define CHAINS 4
#define CHAIN_S 20      /* then they end by themselves */
#define MANY_ENDED 1000 /* so that a look at all takes longer than one of them lives */

/* Each process forks the next and ends: one that is met in proc(5) is gone already. */
static _Noreturn void run_chains(uid_t user, int told)
{
    time_t end = time(NULL) + CHAIN_S;
    if (setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0)
        _exit(1);
    for (int i = 0; i < CHAINS; i++)
        if (fork() == 0)
            while (time(NULL) < end)
                if (fork() != 0)
                    _exit(write(told, "", 1) < 0);
    _exit(0);
}

/* 0: nothing is left when the sweep says so, and it does. */
static int sweep_chains(void)
{
    uid_t user = 600000 + (uid_t)getpid(); /* nobody else's */
    time_t patience = time(NULL) + CHAIN_S / 2;
    int ends[2];
    char byte;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (pipe2(ends, O_NONBLOCK) != 0 || fcntl(ends[0], F_SETFL, 0) != 0)
        return 3;
    if (fork() == 0)
        run_chains(user, ends[1]);
    for (int i = 0; i < MANY_ENDED; i++)
        if (read(ends[0], &byte, 1) != 1)
            return 4;
    while (!process_sweep(NULL, 0, user))
        if (time(NULL) > patience)
            return 1;
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : 2;
}

static void test_chains_of_forks(void **state)
{
    (void)state;
    for (int i = 0; geteuid() == 0 && i < 3; i++)
        in_own_process(sweep_chains);
}

static void test_whose_user_it_is(void **state)
{
    (void)state;
    char none[] = "", file[] = "/key";
    struct config c = {.lease_key_file = none, .lock_fd = -1, .sandbox_uid = 4711};
    uid_t own = geteuid() == 0 ? 4711 : 0;
    assert_int_equal(config_own_user(&c), 0); /* others may have it as well */
    c.lock_fd = CHILD_LOCK_FD;
    assert_int_equal(config_own_user(&c), own);
    c.lock_fd = -1;
    c.lease_key_file = file;
    assert_int_equal(config_own_user(&c), own);
    c.sandbox_uid = 0;
    assert_int_equal(config_own_user(&c), 0);
}

static void test_helper_lines(void **state)
{
    (void)state;
    struct helper_progress p = {0};
    struct error why = {0};
    helper_read_line("total 3 1000", &p, &why);
    helper_read_line("done 2 700", &p, &why);
    helper_read_line("nonsense 9 9", &p, &why);
    helper_read_line("done x", &p, &why);
    assert_int_equal(p.files, 3);
    assert_int_equal(p.bytes, 1000);
    assert_int_equal(p.files_done, 2);
    assert_int_equal(p.bytes_done, 700);
    assert_int_equal(why.code, ERR_NONE);
    helper_read_line("failed no room", &p, &why);
    assert_int_equal(why.code, ERR_INTERNAL);
    assert_string_equal(why.message, "no room");
}

static void test_nonces(void **state)
{
    (void)state;
    struct nonces n = {0};
    char nonce[33];
    for (int i = 1; i <= 2000; i++) {
        snprintf(nonce, sizeof nonce, "%032x", i * 7919);
        assert_int_equal(nonces_add(&n, nonce), NONCE_NEW);
        assert_int_equal(nonces_add(&n, nonce), NONCE_SEEN);
    }
    assert_int_equal(n.count, 2000);
    for (int i = 1; i <= 2000; i++) {
        snprintf(nonce, sizeof nonce, "%032x", i * 7919);
        assert_int_equal(nonces_add(&n, nonce), NONCE_SEEN);
    }
    assert_int_equal(nonces_add(&n, "ABCDEFabcdef00112233445566778899"), NONCE_NEW);
    assert_int_equal(nonces_add(&n, "abcdefabcdef00112233445566778899"), NONCE_SEEN);
    assert_int_equal(nonces_add(&n, "00000000000000000000000000000000"), NONCE_SEEN);
    assert_int_equal(nonces_add(&n, "short"), NONCE_SEEN);
    nonces_release(&n);
}

static void test_too_many_nonces(void **state)
{
    (void)state;
    struct nonces n = {0};
    char nonce[33];
    for (int i = 1; i <= NONCES_MAX; i++) {
        snprintf(nonce, sizeof nonce, "%08x%024x", (unsigned)i * 2654435761u, i);
        if (nonces_add(&n, nonce) != NONCE_NEW)
            fail_msg("refused after %d", i);
    }
    assert_int_equal(nonces_add(&n, nonce), NONCE_SEEN);
    assert_int_equal(nonces_add(&n, "ffffffffffffffffffffffffffffffff"), NONCE_FULL);
    nonces_release(&n);
}

/* ---- requests and records */

static void digest_of(json_t *argv, json_t *env, int64_t timeout_s, char out[65])
{
    struct execution_request r = {.argv = argv, .env = env, .timeout_s = timeout_s};
    record_digest(&r, out);
}

static void test_digest(void **state)
{
    (void)state;
    char a[65], b[65], c[65], d[65], code[65];
    json_t *argv = json_pack("[s,s]", "ls", "-l"), *joined = json_pack("[s]", "ls -l");
    json_t *env = json_pack("{s:s,s:s}", "A", "1", "B", "2");
    json_t *same = json_pack("{s:s,s:s}", "B", "2", "A", "1");
    digest_of(argv, env, 5, a);
    digest_of(argv, same, 5, b);
    digest_of(joined, env, 5, c);
    digest_of(argv, env, 6, d);
    record_digest(&(struct execution_request){.code = "ls", .timeout_s = 5}, code);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    assert_string_not_equal(a, d);
    assert_string_not_equal(a, code);
    json_decref(argv);
    json_decref(joined);
    json_decref(env);
    json_decref(same);
}

static void test_status(void **state)
{
    (void)state;
    struct execution x = {0};
    record_status(&x, W_EXITCODE(3, 0), true);
    assert_int_equal(x.exit_code, 3);
    assert_int_equal(x.signal, -1);
    record_status(&x, W_EXITCODE(0, SIGKILL), false);
    assert_int_equal(x.exit_code, -1);
    assert_int_equal(x.signal, SIGKILL);
    record_status(&x, W_EXITCODE(139, 0), true);
    assert_int_equal(x.signal, SIGSEGV);
    record_status(&x, W_EXITCODE(139, 0), false);
    assert_int_equal(x.exit_code, 139);
    record_status(&x, W_EXITCODE(255, 0), true);
    assert_int_equal(x.exit_code, 255);
    record_status(&x, W_EXITCODE(128, 0), true);
    assert_int_equal(x.exit_code, 128);
}

static void check_error(struct execution x, const char *expected)
{
    char *error = record_error(&x);
    if (expected)
        assert_string_equal(error, expected);
    else
        assert_null(error);
    free(error);
}

static void test_error_of_record(void **state)
{
    (void)state;
    struct execution ok = {.exit_code = 0, .signal = -1}, bad = {.exit_code = 4, .signal = -1};
    struct execution killed = {.exit_code = -1, .signal = 9};
    check_error(ok, NULL);
    check_error(bad, "exit code 4");
    check_error(killed, "killed by signal 9");
    killed.timed_out = true;
    killed.timeout_s = 7;
    check_error(killed, "timed out after 7 s");
    ok.cancelled = true;
    check_error(ok, "cancelled");
}

static void test_error_is_last_line(void **state)
{
    (void)state;
    struct error e = {0};
    struct execution x = {.exit_code = 1, .signal = -1, .is_python = true};
    char *root = make_root(), *path = mem_printf("%s/err", root);
    assert_int_equal(output_open(&x.err, path, 1000, &e), ERR_NONE);
    assert_int_equal(write(x.err.writer, "one\nKeyError: 'x'\n \n\n", 21), 21);
    close(x.err.writer);
    x.err.writer = -1;
    output_finish(&x.err);
    check_error(x, "KeyError: 'x'");
    x.is_python = false;
    check_error(x, "exit code 1");
    output_release(&x.err);
    free(path);
    remove_root(root);
}

static void test_env(void **state)
{
    (void)state;
    struct error e = {0};
    json_t *good = json_pack("{s:s,s:s}", "A", "", "b c", "=");
    json_t *number = json_pack("{s:i}", "A", 1), *name = json_pack("{s:s}", "A=", "1");
    json_t *many = json_object();
    for (int i = 0; i < 257; i++) {
        char key[16];
        snprintf(key, sizeof key, "K%d", i);
        json_object_set_new(many, key, json_string("v"));
    }
    assert_int_equal(program_check_env(good, &e), ERR_NONE);
    assert_int_equal(program_check_env(number, &e), ERR_INVALID);
    assert_int_equal(program_check_env(name, &e), ERR_INVALID);
    assert_int_equal(program_check_env(many, &e), ERR_INVALID);
    json_decref(good);
    json_decref(number);
    json_decref(name);
    json_decref(many);
}

static const char *value_of(char **env, const char *name)
{
    for (size_t len = strlen(name); *env; env++)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return *env + len + 1;
    return NULL;
}

static void test_program(void **state)
{
    (void)state;
    struct config c;
    struct error e = {0};
    struct program p = {0};
    char *root = make_root();
    set_environment();
    assert_int_equal(config_read(&c, &e), ERR_NONE);
    c.sandbox = SANDBOX_BWRAP;
    free(c.executions);
    c.executions = mem_strdup(root);
    json_t *claim = json_pack("{s:s,s:s}", "A", "claim", "LANG", "de");
    json_t *mine = json_pack("{s:s}", "A", "mine");
    struct execution_request r = {.code = "BASH:echo hi", .env = mine};
    assert_int_equal(program_make(&p, &c, claim, &r, 4, &e), ERR_NONE);
    assert_string_equal(p.argv[0], "bash");
    assert_string_equal(p.argv[1], "/run/cleat/execution-4.sh");
    assert_null(p.argv[2]);
    assert_string_equal(value_of(p.env, "+A"), "mine");
    assert_string_equal(value_of(p.env, "+LANG"), "de");
    assert_string_equal(value_of(p.env, "+HOME"), "/workspace");
    assert_null(value_of(p.env, "+CLEAT_SECRET"));
    program_release(&p);
    r.code = "print(1)";
    free(c.executions);
    c.executions = mem_strdup("/proc/none");
    assert_int_equal(program_make(&p, &c, NULL, &r, 5, &e), ERR_INTERNAL);
    program_release(&p);
    json_decref(claim);
    json_decref(mine);
    config_release(&c);
    remove_root(root);
}

/* ---- trees */

static void test_paths(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "a/b", "..a/b..", "...", "a b"};
    static const char *const bad[] = {"",  "/",  "/a",   "a/",  "a//b",
                                      ".", "..", "a/..", "./a", "a/../b"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(tree_path_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(tree_path_valid(bad[i]));
}

static void make_tree(const char *root)
{
    char *command = mem_printf("cd '%s' && mkdir -p from/d/e && ln -s /etc from/way && "
                               "ln -s ../x from/d/link && mkfifo from/d/pipe",
                               root);
    assert_int_equal(system(command), 0);
    free(command);
    put(root, "from/b", "bee");
    put(root, "from/d/e/a", "");
}

static void test_tree(void **state)
{
    (void)state;
    struct error e = {0};
    struct tree t;
    char *root = make_root(), *from = mem_printf("%s/from", root);
    make_tree(root);
    assert_int_equal(tree_read(&t, AT_FDCWD, from, TREE_ANY_OWNER, &e), ERR_NONE);
    assert_int_equal(t.count, 5);
    assert_int_equal(tree_wanted(&t), 2);
    assert_int_equal(t.bytes, 3);
    assert_string_equal(t.files[0].path, "b");
    assert_string_equal(t.files[2].path, "d/link");
    assert_string_equal(t.files[2].skipped, "symbolic link");
    assert_string_equal(t.files[3].skipped, "special file");
    int fd = open(root, O_RDONLY | O_DIRECTORY);
    struct tree_target target = {.root = fd,
                                 .dir = "to/x",
                                 .stage = ".new",
                                 .owner = TREE_ANY_OWNER,
                                 .dir_mode = 0755,
                                 .file_mode = 0644};
    assert_int_equal(tree_copy(&t, &target, &e), ERR_NONE);
    char *copy = mem_printf("%s/to/x/d/e/a", root);
    assert_int_equal(access(copy, R_OK), 0);
    /* SHA-256 of "bee", by sha256sum(1) */
    assert_string_equal(t.files[0].sha256,
                        "62cb81b5904a262ffaeed02abef36bfc540b09f964b8b0b636662f77ffce6714");
    tree_free(&t);
    close(fd);
    free(copy);
    free(from);
    remove_root(root);
}

/* What the walk saw is replaced before the copy. */
static void test_tree_that_changes(void **state)
{
    (void)state;
    struct error e = {0};
    struct tree t;
    char *root = make_root(), *from = mem_printf("%s/from", root);
    make_tree(root);
    assert_int_equal(tree_read(&t, AT_FDCWD, from, TREE_ANY_OWNER, &e), ERR_NONE);
    char *command = mem_printf("cd '%s/from' && rm b && ln -s /etc/passwd b && mv d away && "
                               "ln -s away d",
                               root);
    assert_int_equal(system(command), 0);
    int fd = open(root, O_RDONLY | O_DIRECTORY);
    struct tree_target target = {.root = fd,
                                 .dir = "to",
                                 .stage = ".new",
                                 .owner = TREE_ANY_OWNER,
                                 .dir_mode = 0755,
                                 .file_mode = 0644};
    assert_int_equal(tree_copy(&t, &target, &e), ERR_NONE);
    assert_int_equal(tree_wanted(&t), 0);
    assert_string_equal(t.files[0].skipped, "cannot be opened");
    assert_int_equal(faccessat(fd, "to/b", F_OK, 0), -1);
    tree_free(&t);
    close(fd);
    free(command);
    free(from);
    remove_root(root);
}

static void test_tree_follows_no_link(void **state)
{
    (void)state;
    struct error e = {0};
    struct tree t;
    char *root = make_root();
    make_tree(root);
    int fd = open(root, O_RDONLY | O_DIRECTORY);
    assert_int_equal(tree_read(&t, fd, "from/way", TREE_ANY_OWNER, &e), ERR_INTERNAL);
    tree_free(&t);
    e = (struct error){0};
    assert_int_equal(tree_read(&t, fd, "none/there", TREE_ANY_OWNER, &e), ERR_NONE);
    assert_int_equal(t.count, 0);
    tree_free(&t);
    assert_int_equal(tree_open_dir(fd, "from/way/x", true, 0755, TREE_ANY_OWNER, &e), -1);
    assert_int_equal(tree_open_dir(fd, "../x", true, 0755, TREE_ANY_OWNER, &e), -1);
    assert_int_equal(tree_open_dir(fd, "from/b/x", true, 0755, TREE_ANY_OWNER, &e), -1);
    close(fd);
    remove_root(root);
}

static void test_tree_of_others(void **state)
{
    (void)state;
    struct error e = {0};
    struct tree t;
    char *root = make_root();
    put(root, "f", "x");
    assert_int_equal(tree_read(&t, AT_FDCWD, root, geteuid() + 1, &e), ERR_NONE);
    assert_string_equal(t.files[0].skipped, "another owner");
    tree_free(&t);
    remove_root(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_config_secret_is_erased),
        cmocka_unit_test(test_config_ipv6),
        cmocka_unit_test(test_config_refuses),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_output),
        cmocka_unit_test(test_output_without_directory),
        cmocka_unit_test(test_output_on_a_full_disk),
        cmocka_unit_test(test_too_many_executions),
        cmocka_unit_test(test_process_line),
        cmocka_unit_test(test_chains_of_forks),
        cmocka_unit_test(test_whose_user_it_is),
        cmocka_unit_test(test_helper_lines),
        cmocka_unit_test(test_nonces),
        cmocka_unit_test(test_too_many_nonces),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_error_of_record),
        cmocka_unit_test(test_error_is_last_line),
        cmocka_unit_test(test_env),
        cmocka_unit_test(test_program),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_tree_that_changes),
        cmocka_unit_test(test_tree_follows_no_link),
        cmocka_unit_test(test_tree_of_others),
        cmocka_unit_test(test_config_s3),
        cmocka_unit_test(test_config_takes_the_helpers_variables),
    };
    return cmocka_run_group_tests_name("executor", tests, NULL, NULL);
}
