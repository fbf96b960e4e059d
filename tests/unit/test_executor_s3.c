/* The executor's dealings with S3, as far as they need no S3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"
#include "executor/s3_get.h"
#include "executor/s3_list.h"
#include "executor/s3_multi.h"
#include "executor/s3_name.h"
#include "executor/s3_source.h"
#include "executor/settings.h"

static void test_s3_places(void **state)
{
    (void)state;
    static const char *const good[][3] = {{"s3://abc", "abc", ""},
                                          {"s3://a.b-c1/", "a.b-c1", ""},
                                          {"s3://abc/p", "abc", "p"},
                                          {"s3://abc/p q/r/", "abc", "p q/r"}};
    static const char *const bad[] = {
        "s3://",       "s3://ab",
        "s3://Abc",    "s3://a_b",
        "s3://-abc",   "s3://abc-",
        "s3://a..b",   "s3:///p",
        "s3:/abc",     "s3://127.0.0.1",
        "s3://abc//",  "s3://abc/./p",
        "s3://abc/..", "s3://abc//p",
        "abc",         "s3://a123456789012345678901234567890123456789012345678901234567890123"};
    struct s3_place p;
    struct error e = {0};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(s3_place_read(&p, good[i][0], &e), ERR_NONE);
        assert_string_equal(p.bucket, good[i][1]);
        assert_string_equal(p.prefix, good[i][2]);
        s3_place_release(&p);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(s3_place_read(&p, bad[i], &e), ERR_CONFIG);
        s3_place_release(&p);
    }
    struct buf longest = {0};
    buf_printf(&longest, "s3://abc/%0*d", S3_PREFIX_MAX, 1);
    assert_int_equal(s3_place_read(&p, longest.data, &e), ERR_NONE);
    s3_place_release(&p);
    buf_puts(&longest, "1");
    assert_int_equal(s3_place_read(&p, longest.data, &e), ERR_CONFIG);
    s3_place_release(&p);
    buf_free(&longest);
}

static void test_s3_keys(void **state)
{
    (void)state;
    static const char *const keys[][3] = {{"", "a", "a"},
                                          {"p/q", "a b%", "p/q/a b%"},
                                          {"p", "\xff\xc3\xbc\xe2", "p/%FF\xc3\xbc%E2"}};
    for (size_t i = 0; i < 3; i++) {
        char *key = s3_key(keys[i][0], keys[i][1]);
        assert_string_equal(key, keys[i][2]);
        free(key);
    }
    static const char *const good[] = {"a+b%2Fc%25%C3%BC", ""}, *const plain[] = {
                                                                    "a b/c%\xc3\xbc", ""};
    for (size_t i = 0; i < 2; i++) {
        struct buf b = {0};
        assert_true(s3_decode(&b, good[i]));
        assert_string_equal(b.data ? b.data : "", plain[i]);
        buf_free(&b);
    }
    static const char *const bad[] = {"a%00b", "a%", "a%2", "%zz"};
    for (size_t i = 0; i < 4; i++) {
        struct buf b = {0};
        assert_false(s3_decode(&b, bad[i]));
        buf_free(&b);
    }
}

static void test_s3_safe_paths(void **state)
{
    (void)state;
    char name[257], path[4096] = "";
    memset(name, 'n', 255);
    name[255] = '\0';
    assert_true(s3_path_safe("a"));
    assert_true(s3_path_safe("a/..b/c d"));
    assert_true(s3_path_safe(name));
    name[255] = 'n';
    name[256] = '\0';
    assert_false(s3_path_safe(name));
    static const char *const bad[] = {"", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/."};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(s3_path_safe(bad[i]));
    for (size_t i = 0; i < 1500; i++)
        strcat(path, i ? "/a" : "a");
    assert_true(s3_path_safe(path));
    strcat(path, "/a");
    assert_false(s3_path_safe(path));
}

static void test_s3_content_types(void **state)
{
    (void)state;
    assert_string_equal(s3_content_type("a/b.json"), "application/json");
    assert_string_equal(s3_content_type("a/b.tar.GZ"), "application/gzip");
    assert_string_equal(s3_content_type("a.json/b"), "application/octet-stream");
    assert_string_equal(s3_content_type("json"), "application/octet-stream");
    assert_string_equal(s3_content_type("b."), "application/octet-stream");
    assert_string_equal(s3_content_type("debug/1.stdout"), "text/plain; charset=utf-8");
}

/* S3's limits: 10,000 parts, 5 TiB. */
static void test_s3_part_sizes(void **state)
{
    (void)state;
    static const int64_t sizes[] = {S3_PART_SIZE + 1, 80000LL << 20, (80000LL << 20) + 1,
                                    S3_OBJECT_MAX};
    for (size_t i = 0; i < 4; i++) {
        int64_t part = s3_part_size(sizes[i], S3_PART_SIZE);
        assert_true((sizes[i] + part - 1) / part <= S3_PARTS_MAX);
        assert_true(part >= S3_PART_SIZE && part <= 5LL << 30);
    }
    assert_int_equal(s3_part_size(sizes[1], S3_PART_SIZE), S3_PART_SIZE);
    assert_int_equal(s3_part_size(sizes[2], S3_PART_SIZE), 9 << 20);
}

static void test_s3_ranges(void **state)
{
    (void)state;
    int64_t first, last, total;
    assert_true(s3_read_range("bytes 0-99/1234", &first, &last, &total));
    assert_true(first == 0 && last == 99 && total == 1234);
    static const char *const bad[] = {
        "",           "bytes */5", "bytes 0-1/*", "bytes 5-4/9", "bytes 0-9/9", "bytes 0-1/2x",
        "bytes=0-1/2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(s3_read_range(bad[i], &first, &last, &total));
    assert_false(s3_read_range(NULL, &first, &last, &total));
}

static enum error_code list(const char *contents, struct s3_list *l)
{
    struct error e = {0};
    char *text = mem_printf("<ListBucketResult><EncodingType>url</EncodingType>%s"
                            "</ListBucketResult>",
                            contents);
    s3_list_init(l, NULL, "abc", "p");
    s3_list_read(l, text, strlen(text), &e);
    free(text);
    return e.code;
}

static void test_s3_listing(void **state)
{
    (void)state;
    struct s3_list l;
    assert_int_equal(
        list("<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
             "<Contents><Key>p/</Key><Size>0</Size></Contents>"
             "<Contents><Key>p/d/</Key><Size>0</Size></Contents>"
             "<Contents><Key>p/d/a+b</Key><Size>7</Size></Contents>",
             &l),
        ERR_NONE);
    assert_string_equal(l.token, "t");
    assert_true(l.found_any && !l.finished && l.count == 1 && l.bytes == 7);
    struct s3_object *o = s3_list_take(&l);
    assert_string_equal(o->key, "p/d/a b");
    assert_string_equal(o->path, "d/a b");
    s3_object_free(o);
    assert_null(s3_list_take(&l));
    s3_list_release(&l);
    static const struct {
        const char *text;
        enum error_code code;
    } bad[] = {
        {"<Contents><Key>q/a</Key><Size>0</Size></Contents>", ERR_PROTOCOL},
        {"<Contents><Key>pa</Key><Size>0</Size></Contents>", ERR_PROTOCOL},
        {"<Contents><Key>p/a</Key></Contents>", ERR_PROTOCOL},
        {"<Contents><Key>p/a</Key><Size>-1</Size></Contents>", ERR_PROTOCOL},
        {"<Contents><Key>p/a</Key><Size>99999999999999999999</Size></Contents>", ERR_PROTOCOL},
        {"<Contents><Size>1</Size></Contents>", ERR_PROTOCOL},
        {"<IsTruncated>true</IsTruncated>", ERR_PROTOCOL},
        {"<Contents><Key>p/a%00b</Key><Size>1</Size></Contents>", ERR_INVALID},
        {"<Contents><Key>p/..</Key><Size>1</Size></Contents>", ERR_INVALID},
        {"<Contents>", ERR_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(list(bad[i].text, &l), bad[i].code);
        s3_list_release(&l);
    }
}

static void test_s3_listing_of_something_else(void **state)
{
    (void)state;
    struct s3_list l;
    struct error e = {0};
    s3_list_init(&l, NULL, "abc", "");
    assert_int_equal(s3_list_read(&l, "<html/>", 7, &e), ERR_PROTOCOL);
    s3_list_release(&l);
}

static void test_s3_listing_without_end(void **state)
{
    (void)state;
    static const char page[] = "<ListBucketResult><IsTruncated>true</IsTruncated>"
                               "<NextContinuationToken>t</NextContinuationToken>"
                               "</ListBucketResult>";
    struct s3_list l;
    struct error e = {0};
    int pages = 0;
    s3_list_init(&l, NULL, "abc", "p");
    while (pages < 20000 && s3_list_read(&l, page, sizeof page - 1, &e) == ERR_NONE)
        pages++;
    assert_int_equal(e.code, ERR_PROTOCOL);
    assert_in_range(pages, 1000, 19999);
    s3_list_release(&l);
}

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

static int open_in(const char *root, const char *name)
{
    char *path = mem_printf("%s/%s", root, name);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    free(path);
    return fd;
}

/* Digests by sha256sum(1). */
static void test_s3_source(void **state)
{
    (void)state;
    char *root = make_root(), sum[65];
    size_t len;
    put(root, "f", "bee");
    struct s3_source s = {.fd = open_in(root, "f")};
    assert_true(s3_source_begin(&s));
    char *bytes = s3_source_read(&s, 2, &len);
    assert_int_equal(len, 2);
    free(bytes);
    assert_false(s3_source_again(&s));
    put(root, "f", "bees"); /* behind the reader's back */
    assert_true(s3_source_again(&s));
    assert_true(s3_source_begin(&s));
    assert_int_equal(s.size, 4);
    put(root, "f", "bee"); /* and shorter again */
    bytes = s3_source_read(&s, 8, &len);
    assert_memory_equal(bytes, "bee", 3);
    free(bytes);
    assert_true(len == 3 && s.size == 3 && s.offset == 3);
    assert_true(s3_source_again(&s));
    assert_true(s3_source_begin(&s));
    put(root, "f", "been");
    assert_false(s3_source_again(&s)); /* three tries are enough: it is taken as it is */
    bytes = s3_source_read(&s, 8, &len);
    free(bytes);
    s3_source_digest(&s, sum);
    assert_string_equal(sum,
                        "62cb81b5904a262ffaeed02abef36bfc540b09f964b8b0b636662f77ffce6714");
    s3_source_close(&s);
    remove_root(root);
}

static void test_s3_source_that_cannot_be_read(void **state)
{
    (void)state;
    size_t len;
    char *root = make_root();
    struct s3_source s = {.fd = open_in(root, ".")}; /* EISDIR stands for a broken disk */
    assert_true(s3_source_begin(&s));
    s.size = 5;
    assert_null(s3_source_read(&s, 8, &len));
    s3_source_close(&s);
    remove_root(root);
}

static void test_settings(void **state)
{
    (void)state;
    struct error e = {0};
    struct aws_keys keys = {"AKIA", "secret", "token", 5}, out = {0};
    json_t *env = json_pack("{s:s}", "AWS_REGION", "r\n1");
    char *line = settings_line(env, &keys);
    assert_string_equal(line, "{\"env\":{\"AWS_REGION\":\"r\\n1\"},\"keys\":{\"access_key_id\":"
                              "\"AKIA\",\"secret_access_key\":\"secret\",\"session_token\":"
                              "\"token\",\"expires_ms\":5}}\n");
    free(line);
    keys.access_key = NULL;
    line = settings_line(env, &keys);
    assert_string_equal(line, "{\"env\":{\"AWS_REGION\":\"r\\n1\"}}\n");
    free(line);
    json_decref(env);
    json_t *o = json_pack("{s:s,s:s,s:s}", "access_key_id", "A", "secret_access_key", "S",
                          "session_token", "");
    assert_int_equal(settings_read_keys(o, &out, &e), ERR_NONE);
    assert_null(out.session_token);
    assert_int_equal(out.expires_ms, 0);
    settings_release_keys(&out);
    assert_null(out.secret_key);
    json_object_set_new(o, "secret_access_key", json_string(""));
    assert_int_equal(settings_read_keys(o, &out, &e), ERR_INVALID);
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_s3_places),
        cmocka_unit_test(test_s3_keys),
        cmocka_unit_test(test_s3_safe_paths),
        cmocka_unit_test(test_s3_content_types),
        cmocka_unit_test(test_s3_part_sizes),
        cmocka_unit_test(test_s3_ranges),
        cmocka_unit_test(test_s3_listing),
        cmocka_unit_test(test_s3_listing_of_something_else),
        cmocka_unit_test(test_s3_listing_without_end),
        cmocka_unit_test(test_s3_source),
        cmocka_unit_test(test_s3_source_that_cannot_be_read),
        cmocka_unit_test(test_settings),
    };
    return cmocka_run_group_tests_name("executor-s3", tests, NULL, NULL);
}
