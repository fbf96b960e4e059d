/* Logins for registries, and lines that come in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/mem.h"
#include "driver/docker_auth.h"
#include "driver/docker_lines.h"

static void check_registry(const char *image, const char *registry)
{
    char is[64];
    docker_registry_of(image, is, sizeof(is));
    assert_string_equal(is, registry);
}

static void registries(void **state)
{
    (void)state;
    check_registry("debian", "docker.io");
    check_registry("library/debian:12", "docker.io");
    check_registry("r.example/a/b:1", "r.example");
    check_registry("localhost/a", "localhost");
    check_registry("host:5000/a@sha256:0", "host:5000");
    check_registry("a.b", "docker.io");
}

/* NULL: no header. Else the header without its padding decodes to that. */
static void check(const char *text, const char *registry, const char *header, const char *hint)
{
    struct docker_auth auth;
    docker_auth_read(text, registry, &auth);
    if (header == NULL)
        assert_null(auth.header);
    else
        assert_string_equal(auth.header, header);
    if (*hint)
        assert_non_null(strstr(auth.hint, hint));
    else
        assert_string_equal(auth.hint, "");
    docker_auth_clear(&auth);
    assert_null(auth.header);
}

/* dTpwOndv: "u:p:wo"; the headers are base64url of compact JSON. */
static void logins(void **state)
{
    (void)state;
    const char *one = "{\"auths\":{\"r.example\":{\"auth\":\"dTpwOndv\"}}}";
    const char *header =
        "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InA6d28iLCJzZXJ2ZXJhZGRyZXNzIjoici5l"
        "eGFtcGxlIn0=";
    check(one, "r.example", header, "");
    check(one, "r.example:1", NULL, "");
    check("{\"auths\":{\"https://r.example/v1/\":{\"auth\":\"dTpwOndv\"}}}", "r.example",
          header, "");
    check(
        "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"dTpw\"}}}", "docker.io",
        "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InAiLCJzZXJ2ZXJhZGRyZXNzIjoiZG9ja2VyLmlvIn0=", "");
    check("{\"auths\":{\"r\":{\"identitytoken\":\"t?\?\?>>\"}}}", "r",
          "eyJpZGVudGl0eXRva2VuIjoidD8_Pz4-Iiwic2VydmVyYWRkcmVzcyI6InIifQ==", "");
}

static void logins_that_cannot_be_used(void **state)
{
    (void)state;
    check("{\"auths\":{\"r\":{\"auth\":\"%%%%\"}}}", "r", NULL, "cannot be read");
    check("{\"auths\":{\"r\":{\"auth\":\"dTpw=\"}}}", "r", NULL, "cannot be read");
    check("{\"auths\":{\"r\":{\"auth\":\"dXA=\"}}}", "r", NULL, "cannot be read");
    check("{\"auths\":{\"r\":{\"auth\":\"====\"}}}", "r", NULL, "cannot be read");
    check("{\"auths\":{\"r\":{\"auth\":\"/zr/\"}}}", "r", NULL, "cannot be read");
    check("{\"auths\":{\"r\":{}},\"credsStore\":\"pass\"}", "r", NULL,
          "docker-credential-pass");
    check("{\"credHelpers\":{\"r\":\"ecr-login\"}}", "r", NULL, "docker-credential-ecr-login");
    check("{\"credHelpers\":{\"other\":\"x\"}}", "r", NULL, "");
    check("{", "r", NULL, "no JSON object");
    check("[]", "r", NULL, "no JSON object");
    check("{\"auths\":[]}", "r", NULL, "");
}

static void write_config(const char *dir)
{
    char *path = mem_printf("%s/config.json", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("{\"auths\":{\"r.example\":{\"auth\":\"dTpw\"}}}", f);
    fclose(f);
    free(path);
}

static void found(void **state)
{
    (void)state;
    char dir[] = "/tmp/cleat-auth-XXXXXX";
    struct docker_auth auth;
    assert_non_null(mkdtemp(dir));
    setenv("DOCKER_CONFIG", dir, 1);
    docker_auth_find("r.example/x", &auth);
    assert_null(auth.header);
    assert_string_equal(auth.hint, "");
    write_config(dir);
    docker_auth_find("r.example/x", &auth);
    assert_non_null(auth.header);
    docker_auth_clear(&auth);
    docker_auth_find("x", &auth);
    assert_null(auth.header);

    char *home = mem_printf("%s/.docker", dir), *remove = mem_printf("rm -r %s", dir);
    unsetenv("DOCKER_CONFIG");
    setenv("HOME", dir, 1);
    assert_int_equal(mkdir(home, 0700), 0);
    write_config(home);
    docker_auth_find("r.example/x", &auth);
    assert_non_null(auth.header);
    docker_auth_clear(&auth);
    assert_int_equal(system(remove), 0);
    free(home);
    free(remove);
}

static bool collect(void *arg, const char *line, size_t len)
{
    struct buf *all = arg;
    buf_add(all, line, len);
    buf_puts(all, "|");
    return len != 4 || memcmp(line, "stop", 4) != 0;
}

static void lines(void **state)
{
    (void)state;
    struct buf pending = {0}, all = {0};
    assert_true(docker_split(&pending, "on", 2, collect, &all));
    assert_true(docker_split(&pending, "e\r\n\r\n\ntwo\nthr", 13, collect, &all));
    assert_string_equal(all.data, "one|two|");
    assert_true(docker_split(&pending, "ee\n", 3, collect, &all));
    assert_false(docker_split(&pending, "stop\nmore\n", 10, collect, &all));
    assert_string_equal(all.data, "one|two|three|stop|");
    buf_free(&pending);
    char *long_one = mem_alloc((1 << 20) + 1);
    memset(long_one, 'x', (1 << 20) + 1);
    assert_true(docker_split(&pending, long_one, 1 << 20, collect, &all));
    assert_false(docker_split(&pending, "x", 1, collect, &all));
    free(long_one);
    buf_free(&pending);
    buf_free(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registries),
        cmocka_unit_test(logins),
        cmocka_unit_test(logins_that_cannot_be_used),
        cmocka_unit_test(found),
        cmocka_unit_test(lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
