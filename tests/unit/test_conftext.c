#include "base/paths.h"
#include "cleatd/conftext.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "base/mem.h"

static void assert_prepared(const char *text, const char *wanted, int wanted_line)
{
    char *copy = mem_strdup(text);
    assert_int_equal(conftext_prepare(copy), wanted_line);
    assert_string_equal(copy, wanted);
    free(copy);
}

static void comments_are_blanked(void **state)
{
    (void)state;
    assert_prepared("# a\nx = 1 # b\n", "   \nx = 1    \n", 0);
    assert_prepared("// a\n/* b\nc */x", "    \n    \n    x", 0);
    assert_prepared("/* never ended\nx", "              \n ", 0);
}

static void strings_and_words_keep_their_marks(void **state)
{
    (void)state;
    assert_prepared("x = \"# {\" y = '//'", "x = \"# {\" y = '//'", 0);
    assert_prepared("x = \"a\\\"# b\"", "x = \"a\\\"# b\"", 0);
    assert_prepared("x = /var//lib#1", "x = /var//lib#1", 0);
    assert_prepared("x = \"open", "x = \"open", 0);
    assert_prepared("x = \"ends in \\", "x = \"ends in \\", 0);
}

static void open_braces_are_found(void **state)
{
    (void)state;
    assert_prepared("class a {\n}\n", "class a {\n}\n", 0);
    assert_prepared("\nclass a {\n x = {1}\n", "\nclass a {\n x = {1}\n", 2);
    assert_prepared("class a {\n x = \"\n\" y = {\n", "class a {\n x = \"\n\" y = {\n", 3);
    assert_prepared("} # }\n", "}    \n", 0);
    char deep[100] = "";
    for (size_t i = 0; i < sizeof deep - 1; i++)
        deep[i] = '{';
    assert_int_equal(conftext_prepare(deep), 1);
}

static void the_nearest_name_is_found(void **state)
{
    static const char *const names[] = {"state_dir", "socket", "socket_mode", "log", NULL};
    (void)state;
    assert_string_equal(conftext_nearest("state_dri", names), "state_dir");
    assert_string_equal(conftext_nearest("socketmode", names), "socket_mode");
    assert_string_equal(conftext_nearest("lgo", names), "log");
    assert_null(conftext_nearest("entirely_different", names));
    assert_null(conftext_nearest("", names));
    char longest[300];
    for (size_t i = 0; i < sizeof longest - 1; i++)
        longest[i] = 'x';
    longest[sizeof longest - 1] = '\0';
    assert_null(conftext_nearest(longest, names));
}

static void assert_path(char *path, const char *wanted)
{
    if (wanted)
        assert_string_equal(path, wanted);
    else
        assert_null(path);
    free(path);
}

static void paths_follow_user_and_environment(void **state)
{
    (void)state;
    if (geteuid() == 0) {
        assert_path(paths_state_dir(), "/var/lib/cleat");
        assert_path(paths_socket("/s"), PATHS_SYSTEM_SOCKET);
        assert_int_equal(seteuid(65534), 0);
    }
    setenv("HOME", "/home/u", 1);
    unsetenv("XDG_STATE_HOME");
    unsetenv("XDG_RUNTIME_DIR");
    assert_path(paths_state_dir(), "/home/u/.local/state/cleat");
    assert_path(paths_socket("/s"), "/s/cleatd.sock");
    assert_path(paths_socket(NULL), NULL);
    setenv("XDG_STATE_HOME", "/state", 1);
    setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
    assert_path(paths_state_dir(), "/state/cleat");
    assert_path(paths_socket("/s"), "/run/user/1/cleat/cleatd.sock");
    setenv("XDG_STATE_HOME", "relative", 1);
    setenv("HOME", "relative", 1);
    assert_path(paths_state_dir(), NULL);
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
    prctl(PR_SET_DUMPABLE, 1); /* the leak checker wants to look at us */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comments_are_blanked),
        cmocka_unit_test(strings_and_words_keep_their_marks),
        cmocka_unit_test(open_braces_are_found),
        cmocka_unit_test(the_nearest_name_is_found),
        cmocka_unit_test(paths_follow_user_and_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
