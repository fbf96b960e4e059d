/* What coordinators and static hosts say to each other, and how a host is wiped. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"
#include "executor/lease_wipe.h"
#include "http/json.h"
#include "http/lease.h"

static const uint8_t key[PROOF_SECRET_SIZE] = {1, 2, 3},
                     other_key[PROOF_SECRET_SIZE] = {1, 2, 4};
static const uint8_t number[PROOF_SEAL_RANDOM] = {7};

static char *sealed(void)
{
    json_t *o = json_pack("{s:s, s:s}", "path", LEASE_PATH, "secret", "never in the clear");
    char *body = lease_seal(key, number, o);
    json_decref(o);
    return body;
}

static enum error_code refusal(const uint8_t with[PROOF_SECRET_SIZE], const char *body,
                               size_t len)
{
    struct error e = {0};
    json_t *o = lease_open(with, body, len, &e);
    assert_null(o);
    return e.code;
}

static void test_sealed(void **state)
{
    (void)state;
    struct error e = {0};
    char *body = sealed();
    assert_null(strstr(body, "clear"));
    json_t *o = lease_open(key, body, strlen(body), &e);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "path")), LEASE_PATH);
    json_decref(o);
    free(body);
}

static void test_wrong_key(void **state)
{
    (void)state;
    char *body = sealed();
    assert_int_equal(refusal(other_key, body, strlen(body)), ERR_FORBIDDEN);
    free(body);
}

/* Each digit counts. */
static void test_tampered(void **state)
{
    (void)state;
    char *body = sealed();
    size_t begin = strlen("{\"sealed\":\""), end = strlen(body) - strlen("\"}");
    for (size_t i = begin; i < end; i++) {
        char was = body[i];
        body[i] = was == '0' ? '1' : '0';
        assert_int_equal(refusal(key, body, strlen(body)), ERR_FORBIDDEN);
        body[i] = was;
    }
    free(body);
}

static void test_truncated(void **state)
{
    (void)state;
    char *body = sealed();
    size_t begin = strlen("{\"sealed\":\""), end = strlen(body) - strlen("\"}");
    for (size_t keep = begin; keep < end; keep++) {
        char *cut = mem_printf("%.*s\"}", (int)keep, body);
        assert_int_equal(refusal(key, cut, strlen(cut)), ERR_FORBIDDEN);
        free(cut);
    }
    for (size_t keep = 0; keep < strlen(body); keep++)
        assert_int_equal(refusal(key, body, keep), ERR_INVALID);
    free(body);
}

/* Rightly sealed, and still no message. */
static void test_no_object(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "[]", "{", "{\"a\":1,\"a\":2}", "7"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *hex = proof_seal(key, number, texts[i], strlen(texts[i]));
        char *body = mem_printf("{\"sealed\":\"%s\"}", hex);
        assert_int_equal(refusal(key, body, strlen(body)), ERR_INVALID);
        free(body);
        body = mem_printf("{\"sealed\":\"%s\",\"more\":1}", hex);
        assert_int_equal(refusal(key, body, strlen(body)), ERR_INVALID);
        free(body);
        free(hex);
    }
}

/* ---- files */

static char dir[] = "/tmp/cleat-lease-XXXXXX";

static void put(const char *name, const char *text, mode_t mode)
{
    char *path = mem_printf("%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    fchmod(fd, mode);
    close(fd);
    free(path);
}

static enum error_code read_key(const char *name)
{
    uint8_t got[PROOF_SECRET_SIZE] = {0};
    struct error e = {0};
    char *path = mem_printf("%s/%s", dir, name);
    enum error_code code = lease_key_read(got, path, &e);
    if (code == ERR_NONE)
        assert_int_equal(got[0], 0x5a);
    free(path);
    return code;
}

#define KEY "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"

static void test_key_files(void **state)
{
    (void)state;
    put("good", KEY "\n", 0600);
    put("bare", KEY, 0400);
    put("open", KEY "\n", 0640);
    put("short", "5a5a\n", 0600);
    put("long", KEY "00\n", 0600);
    put("empty", "", 0600);
    assert_int_equal(read_key("good"), ERR_NONE);
    assert_int_equal(read_key("bare"), ERR_NONE);
    assert_int_equal(read_key("open"), ERR_CONFIG);
    assert_int_equal(read_key("short"), ERR_CONFIG);
    assert_int_equal(read_key("long"), ERR_CONFIG);
    assert_int_equal(read_key("empty"), ERR_CONFIG);
    assert_int_equal(read_key("absent"), ERR_CONFIG);
    assert_int_equal(read_key("."), ERR_CONFIG);
}

static void go_down(const char *name)
{
    assert_int_equal(mkdir(name, 0700), 0);
    assert_int_equal(chdir(name), 0);
}

static void test_wipe(void **state)
{
    (void)state;
    struct error e = {0};
    int top = open(dir, O_RDONLY | O_DIRECTORY), here = open(".", O_RDONLY | O_DIRECTORY);
    assert_int_equal(wipe_tree(top, "absent", &e), ERR_NONE);
    assert_int_equal(mkdirat(top, "tree", 0700), 0);
    assert_false(wipe_finds_file(top, "tree"));
    assert_int_equal(mkdirat(top, "tree/.wipe-1", 0700), 0); /* a name that we take */
    assert_int_equal(mkdirat(top, "tree/.wipe-2", 0700), 0);
    assert_int_equal(symlinkat("/", top, "tree/.wipe-2/root"), 0);
    assert_true(wipe_finds_file(top, "tree"));
    assert_int_equal(mkfifoat(top, "tree/pipe", 0), 0);
    assert_int_equal(symlinkat("../good", top, "tree/link"), 0);
    assert_int_equal(fchdir(top), 0);
    assert_int_equal(chdir("tree"), 0);
    for (int depth = 0; depth < 3000; depth++) /* far beyond PATH_MAX */
        go_down(depth % 2 ? "deeper" : "a-name-that-is-somewhat-longer");
    assert_int_equal(fchdir(top), 0);
    assert_int_equal(fchmodat(top, "tree/a-name-that-is-somewhat-longer", 0, 0), 0);
    assert_int_equal(wipe_tree(top, "tree", &e), ERR_NONE);
    assert_int_equal(faccessat(top, "tree", F_OK, 0), -1);
    assert_int_equal(faccessat(top, "good", F_OK, 0), 0); /* what links led to is there */
    assert_int_equal(fchdir(here), 0);
    close(here);
    close(top);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    struct error e = {0};
    return wipe_tree(AT_FDCWD, dir, &e) == ERR_NONE ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sealed),    cmocka_unit_test(test_wrong_key),
        cmocka_unit_test(test_tampered),  cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_no_object), cmocka_unit_test(test_key_files),
        cmocka_unit_test(test_wipe),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
