import sqlite3

import pytest
from click.testing import CliRunner

from gateway.cli import main


def run(*arguments):
    return CliRunner().invoke(main, arguments, prog_name="gateway", catch_exceptions=False)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    monkeypatch.delenv("GATEWAY_DATABASE_URL", raising=False)


def test_upgrade_makes_the_database_and_may_be_repeated(tmp_path):
    for _ in range(2):
        done = run("db", "upgrade")
        assert (done.exit_code, done.output) == (0, "The database is up to date.\n")

    connection = sqlite3.connect(tmp_path / "var" / "gateway.db")
    assert connection.execute("select count(*) from keys").fetchone() == (0,)
    connection.close()


def test_every_mistake_in_the_configuration_is_printed(tmp_path):
    (tmp_path / "gateway.toml").write_text("[server]\nbindd = 'x'\nmax_body_mb = 'y'\n")

    done = run("db", "upgrade")

    assert (done.exit_code, done.stdout) == (2, "")
    assert "bindd" in done.stderr and "max_body_mb" in done.stderr


@pytest.mark.parametrize(
    "url, sentence",
    [
        ("sqlite:////dev/null/x/gateway.db", "The database's folder cannot be used: "),
        ("sqlite:///garbage", "The database cannot be used: file is not a database."),
        ("postgresql+psycopg://u:hush@127.0.0.1:1/d", ""),
    ],
)
def test_database_that_cannot_be_used_is_a_sentence(tmp_path, monkeypatch, url, sentence):
    (tmp_path / "garbage").write_text("no database" * 1000)
    monkeypatch.setenv("GATEWAY_DATABASE_URL", url)

    done = run("db", "upgrade")

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(sentence) and done.stderr.count("\n") == 1
    assert "hush" not in done.stderr
