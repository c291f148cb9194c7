import json
import os
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from gateway import usage
from gateway.cli import main
from gateway.cli.keys import take_back
from gateway.errors import DependencyUnavailable, InvalidKey
from gateway.keys import KeyStore
from tests.test_usage import made as used

NAME = "Ключ \N{KEY}"
SETTLED = {"PYTHONUNBUFFERED": "", "PYTHONIOENCODING": ""}  # what a shell may set, and hide


@pytest.fixture
def store(database):
    return KeyStore(database)


@pytest.fixture
def made(database, store):
    """A key that was used, and its secret."""
    key, secret = store.create(NAME)
    database.write(lambda c: usage.insert(c, [used(1, key=key.id, created_at=time.time())]))
    return key, secret


def shell(line, program="-m gateway.cli", **environ):
    """Run a command as a shell does, its redirections too; return (status, stdout, stderr)."""
    done = subprocess.run(
        ["sh", "-c", f'"$0" {program} {line}', sys.executable],
        env={**os.environ, **SETTLED, **environ},
        capture_output=True,
        timeout=60,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


PRINTING = ["--help", "keys list", "keys list --json", "usage --csv"]


@pytest.mark.parametrize("command", PRINTING)
def test_closed_output_is_a_sentence(made, command):
    assert shell(f"{command} >&-") == (1, "", "gateway: standard output is closed.\n")


@pytest.mark.parametrize("command", PRINTING)
def test_full_output_is_a_sentence_and_nothing_more(made, command):
    assert shell(f"{command} >/dev/full") == (1, "", "gateway: No space left on device.\n")


def test_output_that_may_only_be_read_counts_as_closed(made):
    assert shell("keys list 1</dev/null") == (1, "", "gateway: standard output is closed.\n")


def test_reader_that_leaves_ends_a_command_quietly(made):
    assert shell("keys list | true")[2] == ""


def test_command_that_prints_nothing_needs_no_output(url):
    assert shell("db upgrade >&-") == (0, "", "The database is up to date.\n")


@pytest.mark.parametrize("lost", ["2>&-", "2>/dev/full"])
def test_status_tells_where_standard_error_cannot(url, lost):
    assert shell(f"keys show nonsense {lost}") == (1, "", "")


def test_usage_error_is_never_printed_as_output(url):
    assert shell("keys bogus 2>&-") == (2, "", "")


def test_closed_error_output_costs_no_key(store):
    status, secret, _ = shell("keys create mine 2>&-")
    assert status == 0 and store.verify(secret.strip()).name == "mine"


def test_nothing_is_opened_in_the_place_of_a_closed_stream(tmp_path):
    told = tmp_path / "told"
    program = (
        "import os; from gateway.cli import streams; streams.prepare(); "
        f"file = open('{told}', 'w'); "
        "print(file.fileno() > 2, *map(os.get_inheritable, range(3)), file=file)"
    )
    assert shell(">&- 2>&- <&-", f'-c "{program}"')[0] == 0
    assert told.read_text() == "True False False False\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", ["keys list", "usage", "usage --csv"])
def test_name_that_an_encoding_cannot_hold_is_printed_all_the_same(made, encoding, command):
    status, out, err = shell(command, PYTHONIOENCODING=encoding)
    assert (status, err) == (0, "")
    assert NAME in out or NAME.encode("ascii", "backslashreplace").decode() in out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", ["keys list --json", "usage --json"])
def test_json_is_utf_8_in_any_encoding(made, encoding, command):
    (row,) = json.loads(shell(command, PYTHONIOENCODING=encoding)[1])
    assert row["name"] == NAME


@pytest.mark.parametrize(
    "url", ["sqlite:///\udcff.db", "postgresql+psycopg://u:hush\udcff@127.0.0.1:1/d"]
)
def test_setting_that_is_no_text_is_a_sentence(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    monkeypatch.setenv("GATEWAY_DATABASE_URL", url)
    done = CliRunner().invoke(main, ["db", "upgrade"], catch_exceptions=False)

    assert done.exit_code in (1, 2) and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "hush" not in done.stderr


def test_key_is_not_made_where_it_cannot_be_printed(url, tmp_path):
    status, out, err = shell("keys create mine >&-")

    assert (status, out) == (1, "") and err.endswith(" Nothing was changed.\n")
    assert not (tmp_path / "var").exists()


def test_key_is_not_rotated_where_it_cannot_be_printed(store, made):
    key, secret = made
    status, _, err = shell(f"keys rotate {key.id} >&-")

    assert status == 1 and err.endswith(" Nothing was changed.\n")
    assert store.verify(secret).id == key.id


def test_key_that_nobody_has_is_revoked(store):
    status, _, err = shell("keys create mine >/dev/full")

    (key,) = store.list()
    assert status == 1 and key.state(0) == "revoked"
    assert err.endswith(f": No space left on device. Nobody has it. {key.id} (mine) is revoked.\n")


def test_key_whose_reader_has_left_is_revoked(store):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "gateway.cli", "keys", "create", "mine"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)

    assert [key.state(0) for key in store.list()] == ["revoked"]
    assert done.returncode == 1 and done.stderr.endswith("(mine) is revoked.\n")


def test_key_that_nobody_has_is_named_where_it_cannot_be_revoked(made):
    class Away:
        def revoke(self, id):
            raise DependencyUnavailable()

    key, _ = made
    assert f"gateway keys revoke {key.id}" in take_back(Away(), key)


def test_rotation_that_nobody_has_says_how_the_key_stands(store, made):
    key, secret = made
    status, _, err = shell(f"keys rotate {key.id} --grace 1h >/dev/full")
    assert status == 1 and f"The old one of {key.id} ({NAME}) works until " in err
    assert store.verify(secret).id == key.id

    status, _, err = shell(f"keys rotate {key.id} >/dev/full")
    assert status == 1 and "stops working within seconds. Rotate the key again.\n" in err
    store.refresh()
    with pytest.raises(InvalidKey):
        store.verify(secret)
