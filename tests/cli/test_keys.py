import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import COMMANDS, main
from gateway.database import Database
from gateway.keys import KeyStore

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    monkeypatch.setenv("GATEWAY_DATABASE_URL", f"sqlite:///{tmp_path}/var/gateway.db")
    return f"sqlite:///{tmp_path}/var/gateway.db"


def run(*arguments):
    return CliRunner().invoke(main, arguments, prog_name="gateway", catch_exceptions=False)


def test_key_stands_alone_on_standard_output_and_works(url):
    done = run("keys", "create", "mine")

    assert done.exit_code == 0
    assert re.fullmatch("sk-[0-9A-Za-z]{12}-[0-9A-Za-z]{43}\n", done.stdout)
    database = Database(url)
    assert KeyStore(database).verify(done.stdout.strip()).name == "mine"
    database.close()


def test_hint_on_standard_error_does_not_repeat_the_key(url):
    done = run("keys", "create", "mine")

    assert f"key_{done.stdout[3:15]} is ready" in done.stderr
    assert done.stdout[16:].strip() not in done.stderr


def test_list_shows_whole_ids_and_names_as_they_were_given(url):
    names = ["[red]alert[/red]", "é" * 100]
    ids = [f"key_{run('keys', 'create', name).stdout[3:15]}" for name in names]

    lines = run("keys", "list").stdout.splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [[ids[0], names[0]], [ids[1], names[1]]]


def test_list_as_json_is_for_programs(url):
    run("keys", "create", "é")

    (found,) = json.loads(run("keys", "list", "--json").stdout)
    assert found.keys() == {"id", "name", "created_at", "revoked_at"}
    assert (found["name"], found["revoked_at"]) == ("é", None)


def test_empty_list_says_what_to_do(url):
    done = run("keys", "list")

    assert (done.exit_code, done.stdout) == (0, "")
    assert "gateway keys create NAME" in done.stderr
    assert run("keys", "list", "--json").stdout == "[]\n"


def test_revoke_says_what_it_did(url):
    id = f"key_{run('keys', 'create', 'mine').stdout[3:15]}"

    assert run("keys", "revoke", id).stdout == f"{id} (mine) is revoked.\n"
    again = run("keys", "revoke", id)
    assert again.exit_code == 0 and again.stdout.startswith(f"{id} (mine) was revoked before, at ")
    assert "UTC" in run("keys", "list").stdout.splitlines()[1].split("UTC", 1)[1]


@pytest.mark.parametrize("id", ["key_000000000000", "nonsense", "\udcff"])
def test_revoking_an_unknown_id_fails_with_a_sentence(url, id):
    done = run("keys", "revoke", id)

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("There is no key ")


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb"])
def test_wrong_name_is_a_usage_error(url, name):
    done = run("keys", "create", name)

    assert (done.exit_code, done.stdout) == (2, "")
    assert "1 to 100 printable characters" in done.stderr


def test_output_that_cannot_be_written_is_a_sentence(url):
    command = [sys.executable, "-m", "gateway.cli", "keys", "create", "mine"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)

    assert (done.returncode, done.stderr) == (1, "gateway: No space left on device.\n")


def test_help_imports_no_command():
    script = (
        "import sys; from gateway.cli import main; main(['--help'], standalone_mode=False);"
        "print(sorted(sys.modules.keys() & {'sqlalchemy', 'flask', 'rich', 'gateway.cli.keys'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)

    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_the_help_is_there(name):
    assert main.get_command(None, name).name == name
