import pytest
from click.testing import CliRunner

from gateway.cli import main

GOOD = """
[[upstream]]
name = "one"
base_url = "http://127.0.0.1:9/v1"

[[upstream]]
name = "two"
base_url = "http://127.0.0.1:9/v1"

[[model]]
id = "m"
upstreams = [{ name = "one" }, { name = "two" }]
"""


def run(*arguments):
    return CliRunner().invoke(main, ["check", *arguments], prog_name="gateway")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "UPSTREAM_URL", "UPSTREAM_KEY", "BIND", "OPS_BIND", "DATABASE_URL"):
        monkeypatch.delenv(f"GATEWAY_{name}", raising=False)
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    return tmp_path


def test_good_file_is_counted(folder):
    (folder / "mine.toml").write_text(GOOD)
    done = run("mine.toml")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "mine.toml is valid: upstreams: 2, models: 1.\n"


def test_without_a_name_it_is_the_one_that_would_be_used(folder, monkeypatch):
    (folder / "gateway.toml").write_text(GOOD)
    assert run().stdout == "gateway.toml is valid: upstreams: 2, models: 1.\n"
    (folder / "other.toml").write_text(GOOD)
    monkeypatch.setenv("GATEWAY_CONFIG", "other.toml")
    assert run().stdout.startswith("other.toml is valid")


def test_no_configuration_is_the_built_in_one():
    assert run().stdout == "The built-in configuration is valid: a local model.\n"


def test_environment_alone_is_a_configuration(monkeypatch):
    monkeypatch.setenv("GATEWAY_UPSTREAM_URL", "http://127.0.0.1:9/v1")
    assert run().stdout == "The built-in configuration is valid: upstreams: 1, models: 0.\n"


def test_every_mistake_is_said_with_its_place_and_the_nearest_name(folder):
    bad = GOOD.replace("base_url", "base_urll", 1).replace('"two" }', '"tow" }')
    (folder / "gateway.toml").write_text(bad + "[retry]\nattempts = -1\n")
    done = run()
    assert (done.exit_code, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 4 and all(line.startswith("gateway.toml:") for line in lines)
    assert 'did you mean "base_url"?' in done.stderr and "upstream[0].base_url" in done.stderr
    assert 'did you mean "two"?' in done.stderr
    assert "retry.attempts: must be from 0 to 100, not -1" in done.stderr


def test_wrong_number_of_workers_in_the_environment_is_said(folder, monkeypatch):
    (folder / "gateway.toml").write_text(GOOD)
    monkeypatch.setenv("WEB_CONCURRENCY", "0")
    done = run()
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "WEB_CONCURRENCY: must be a whole number from 1 to 256\n"


@pytest.mark.parametrize(
    "content, said",
    [
        (None, "nope.toml: can't be read: No such file or directory\n"),
        ("[server", "nope.toml:1: "),
        ("", "nope.toml: upstream: is missing: at least one [[upstream]] is needed\n"),
    ],
)
def test_file_that_cannot_be_used_is_a_sentence(folder, content, said):
    if content is not None:
        (folder / "nope.toml").write_text(content)
    done = run("nope.toml")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1


def test_secret_is_never_repeated(folder, monkeypatch):
    monkeypatch.setenv("HUSH", "very secret")
    (folder / "gateway.toml").write_text(
        GOOD.replace('name = "one"\n', 'name = "one"\napi_key = "${HUSH}"\n', 1)
    )
    done = run()
    assert done.exit_code == 1 and "api_key" in done.stderr
    assert "secret" not in done.stderr
