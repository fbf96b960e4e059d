"""Configuration: what a file may say, and what cleatd says about one that is wrong."""

import os
import subprocess

import pytest

from cleat_harness import BUILD, SANITIZER_MARKS

PROGRAM = BUILD / "cleatd"


def cleatd(*arguments, home="/nonexistent", **env):
    result = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=30,
                            env={**os.environ, "HOME": str(home), "ASAN_OPTIONS": "detect_leaks=1", **env})
    assert not any(mark in result.stderr for mark in SANITIZER_MARKS), result.stderr
    return result


def check(tmp_path, text):
    path = tmp_path / "c.conf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    result = cleatd("--check-config", "--config", path)
    return result.returncode, result.stderr.replace(f"{tmp_path}/", "")


GOOD = [
    "", "# nothing\n", "log_level = debug\n", "log_level = 'debug'\nlog_level = \"info\"\n",
    'state_dir = "/s" # a comment\n// another\n/* and\none more */ owner = "me"\n',
    "class default { balancer = direct }\nclass other { sandbox = none }\n", "class empty { }\n",
    "class a-b_9 {\n cookies = {\"A\",\n   \"B*\"}\n}\n", "class x { haproxy_sockets = {} }\n",
    'peers = {"uid:root=operator", "gid:root=tenant:a", "uid:77=tenant:a=b", "gid:0=operator"}\n', "peers = {}\n",
    'state_dir = "${HOME}/x"\nsocket = "/tmp/s"\n', "max_body_kb = 16\n",
    'class web {\n balancer = haproxy\n haproxy_sockets = {"/a", "/b"}\n'
    ' haproxy_urls = {"http://127.0.0.1:1", "http://127.0.0.1:2"}\n haproxy_backend = "b"\n}\n',
]


@pytest.mark.parametrize("text", GOOD)
def test_good_files(tmp_path, text):
    status, message = check(tmp_path, text)
    assert (status, message) == (0, "")


BAD = [
    # a value that is not allowed: line, option, what is allowed
    ("log_level = loud\n", "c.conf:1:", "log_level", "error | warning | info | debug"),
    ("# one\n# two\n\nmax_body_kb = 7 # three\n", "c.conf:4:", "max_body_kb", "16..65536"),
    ('# one\npeers = {"uid:0=operator", "uid:5=admin"}\n', "c.conf:2:", '"uid:5=admin"', "operator or tenant:NAME"),
    ('peers = {"5=operator"}\n', "c.conf:1:", '"5=operator"', "uid:WHO=ROLE"),
    ('peers = {"uid:5"}\n', "c.conf:1:", "uid:WHO=ROLE"), ('peers = {"uid:=operator"}\n', "c.conf:1:", "no such user"),
    ('peers = {"uid:no such user=operator"}\n', "c.conf:1:", "there is no such user"),
    ('peers = {"gid:4294967295=operator"}\n', "c.conf:1:", "there is no such group"),
    ('peers = {"uid:0=tenant:a"}\n', "c.conf:1:", "root is an operator"),
    ('peers = {"uid:5=tenant:"}\n', "c.conf:1:", "tenant: 1 to 128 characters"),
    ('peers = {"uid:5=tenant:null"}\n', "c.conf:1:", "placeholder"),
    ("max_body_kb = 99999999999999999999\n", "c.conf:1:", "max_body_kb", "16..65536"),
    ("max_body_kb = 1e3\n", "c.conf:1:", "max_body_kb", "16..65536"),
    ("socket_mode = 0777\n", "c.conf:1:", "socket_mode", "0600 | 0660 | 0666"),
    ("/*\n\n*/ owner = \"no spaces\"\n", "c.conf:3:", "owner", "letters"),
    ("\nclass web {\n  # x\n  port = 0\n}\n", "c.conf:4:", 'class "web"', "port", "1..65535"),
    ("class web {\n proof = maybe\n}\n", "c.conf:2:", "proof", "required | none"),
    ('class web {\n cookies = {"A",\n  "B,C"}\n}\n', "c.conf:3:", "comma"),
    ('class "no good" {\n port = 1\n}\n', "c.conf:2:", "name"),
    ('class "no good" { }\n', "c.conf:", "name"),
    # names that do not exist
    ("state_dri = '/s'\n", "c.conf:1:", '"state_dri"', 'did you mean "state_dir"'),
    ("\n\nclass default {\n  balancr = direct\n}\n", "c.conf:4:", '"balancr"', '"balancer"'),
    ("colour = 1\n", "c.conf:1:", '"colour"', "cleatd.conf(5)"),
    ("zzzzzzzzzzzzzzzz = 1\n", "c.conf:1:", '"zzzzzzzzzzzzzzzz"', "cleatd.conf(5)"),
    ("balancer = direct\n", "c.conf:1:", '"balancer"', "inside class"),
    ("class x {\n log_level = info\n}\n", "c.conf:2:", '"log_level"', "outside"),
    ("klass x { }\n", "c.conf:1:", '"klass"', '"class"'),
    ('include("/etc/passwd")\n', "c.conf:1:", '"include"'),
    # syntax
    ("log_level\n", "c.conf:2:", "end of file"),
    ("log_level info\n", "c.conf:1:", "equal sign"),
    ("log_level = {info}\n", "c.conf:1:", "unexpected"),
    ('owner = "open\n', "c.conf:"),
    ("class {\n}\n", "c.conf:1:", "title"),
    ("\nclass x {\n port = 1\n", "c.conf:2:", "never closed"),
    ("class x { }\n}\n", "c.conf:2:", "brace"),
    ("class x { }\nclass x { }\n", "c.conf:2:", "title 'x'"),
    (b"owner = 'a'\0\n", "c.conf:", "NUL"),
    (b"\xff\xfe\n", "c.conf:1:"),
    ("#" * (1024 * 1024 + 9), "c.conf:", "1 MiB"),
    # the whole
    ("\n\nclass x { balancer = haproxy }\n", "c.conf:3:", "class x", "haproxy_sockets"),
    ('class y { }\nclass x {\n port = 1\n artifacts = "s3://b"\n}\n', "c.conf:4:", "class x", "artifacts"),
    ('\nstate_dir = "relative"\n', "c.conf:2:", "state_dir", "absolute"),
    ('socket = "a"\nsocket = "relative"\n', "c.conf:2:", "socket", "absolute"),
    (f'socket = "/{"x" * 107}"\n', "c.conf:1:", "socket", "0..107"),
]


@pytest.mark.parametrize("case", BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_files(tmp_path, case):
    text, *words = case
    status, message = check(tmp_path, text)
    assert status == 1
    assert message.startswith("cleatd: ") and message.count("\n") == 1
    assert all(word in message for word in words), message


def test_a_file_that_is_not_there(tmp_path):
    result = cleatd("--check-config", "--config", tmp_path / "none.conf")
    assert result.returncode == 1 and "none.conf: No such file" in result.stderr
    result = cleatd("--check-config", "--config", tmp_path)
    assert result.returncode == 1 and "directory" in result.stderr


@pytest.mark.parametrize("arguments", [["--nonsense"], ["word"], ["--config"], ["--socket"]])
def test_wrong_command_lines(arguments):
    result = cleatd(*arguments)
    assert result.returncode == 2 and "usage:" in result.stderr


def test_the_command_line_wins_and_is_checked(tmp_path):
    (tmp_path / "c.conf").write_text('log_level = debug\nsocket = "/tmp/a"\n')
    base = ["--check-config", "--config", tmp_path / "c.conf"]
    assert cleatd(*base, "--log-level", "error", "--socket", "/tmp/b", "--state-dir", "/tmp/c").returncode == 0
    for option, value, word in (("--log-level", "loud", "warning"), ("--socket", "x", "absolute"),
                                ("--state-dir", "x", "absolute"), ("--state-dir", "/" + "x" * 300, "bytes")):
        result = cleatd(*base, option, value)
        assert result.returncode == 2 and word in result.stderr, option
        assert "c.conf:" not in result.stderr, "the file is not to blame"


def test_help_and_version():
    assert "usage: cleatd" in cleatd("--help").stdout
    assert cleatd("--version").stdout.startswith("cleatd ")
