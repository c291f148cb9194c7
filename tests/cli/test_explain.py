import contextlib
import os

import pytest
from click.testing import CliRunner

from gateway import config, database
from gateway.cli import main
from gateway.key import fixed_key
from gateway.keys import KeyStore
from tests.upstream import ScriptedUpstream, refused_url

CONFIG = """
[[upstream]]
name = "alpha"
base_url = "{dead}"
endpoints = ["chat", "responses"]

[[upstream]]
name = "beta"
base_url = "{alive}"
stream = false

[[upstream]]
name = "gamma"
base_url = "{alive}"
discover = true

[[model]]
id = "several"
upstreams = [
    {{ name = "alpha", weight = 3 }},
    {{ name = "beta" }},
    {{ name = "gamma", model = "g[red]", priority = 1 }},
]
fallbacks = ["echo", "gone", "vendor/x"]

[[model]]
id = "vendor/*"
upstreams = [{{ name = "gamma", model = "other/*" }}]

[[model]]
id = "mute"
upstreams = [{{ name = "beta" }}]

[[upstream]]
name = "delta"
base_url = "{alive}"
endpoints = ["embeddings"]

[[model]]
id = "deaf"
upstreams = [{{ name = "delta" }}]

[[model]]
id = "spare"
upstreams = [{{ name = "beta", weight = 0 }}, {{ name = "gamma" }}]
"""

SEVERAL = """\
several

POST /v1/chat/completions
  1. alpha as several: priority 0 with 75% of the conversations, unreachable
  2. beta as several: priority 0 with 25% of the conversations, ok
  3. gamma as g[red]: priority 1, ok
  -  gamma as echo: skipped unless one above is: a call tries 3 ([retry] upstreams)
  -  gamma as other/x: skipped unless one above is: a call tries 3 ([retry] upstreams)

POST /v1/chat/completions, stream: true
  1. alpha as several: priority 0, unreachable
  -  beta as several: skipped, it cannot stream
  2. gamma as g[red]: priority 1, ok
  3. gamma as echo: priority 2, fallback echo, ok
  -  gamma as other/x: skipped unless one above is: a call tries 3 ([retry] upstreams)

POST /v1/responses
  1. alpha as several: priority 0 with 75% of the conversations, unreachable
  2. beta as several: priority 0 with 25% of the conversations, translated to chat, ok
  3. gamma as g[red]: priority 1, translated to chat, ok
  -  gamma as echo: skipped unless one above is: a call tries 3 ([retry] upstreams)
  -  gamma as other/x: skipped unless one above is: a call tries 3 ([retry] upstreams)

POST /v1/responses, stream: true
  1. alpha as several: priority 0, unreachable
  -  beta as several: skipped, it cannot stream
  2. gamma as g[red]: priority 1, translated to chat, ok
  3. gamma as echo: priority 2, translated to chat, fallback echo, ok
  -  gamma as other/x: skipped unless one above is: a call tries 3 ([retry] upstreams)

POST /v1/embeddings
  -  alpha as several: skipped, it does not speak embeddings
  1. beta as several: priority 0, ok
  2. gamma as g[red]: priority 1, ok
  3. gamma as echo: priority 2, fallback echo, ok
  -  gamma as other/x: skipped unless one above is: a call tries 3 ([retry] upstreams)

The fallback gone is left out: there is no such model now.
"""


def run(*arguments):
    return CliRunner().invoke(
        main, ["explain", *arguments], prog_name="gateway", catch_exceptions=False
    )


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def configured(folder):
    with ScriptedUpstream() as alive, refused_url() as dead:
        (folder / "gateway.toml").write_text(CONFIG.format(alive=alive.url, dead=dead))
        yield alive


def section(done, heading):
    return done.stdout.partition(f"POST {heading}\n")[2].partition("\n\n")[0].rstrip("\n")


def test_every_kind_of_call_has_its_order_and_its_reasons(configured):
    done = run("several")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == SEVERAL


@pytest.fixture
def made(configured):
    """Return a function that makes a key and returns its id."""

    def make(**bounds):
        url = config.load().server.database_url
        database.upgrade(url)
        with contextlib.closing(database.Database(url)) as found:
            return KeyStore(found).create("mine", **bounds)[0].id

    return make


def test_key_is_named(made):
    id = made(models=("mute", "vendor/*"))
    for model in ("mute", "vendor/x"):
        assert run(model, "--key", id).stdout.startswith(f"{model} for {id} (mine)\n\nPOST")


def test_fixed_key_is_known_by_its_id(configured, monkeypatch):
    monkeypatch.setenv("GATEWAY_API_KEYS", "sk-test")
    id = fixed_key("sk-test").id
    assert run("mute", "--key", id).stdout.startswith(f"mute for {id} (fixed)\n")


@pytest.mark.parametrize("model", ["mute", "nope", "vendor/"])
def test_model_that_the_key_may_not_use_is_said(made, model):
    id = made(models=("several", "vendor/*"))
    done = run(model, "--key", id)

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"{id} (mine) may not use {model}: the answer is 404 model_not_found. "
        "It may use several, vendor/*.\n"
    )


def test_endpoint_that_the_key_may_not_use_is_said(made):
    done = run("several", "--key", made(endpoints=("embeddings",)))

    assert section(done, "/v1/chat/completions") == "  The answer is 403 endpoint_not_allowed."
    assert section(done, "/v1/responses") == "  The answer is 403 endpoint_not_allowed."
    assert "1. beta as several" in section(done, "/v1/embeddings")


def test_key_that_does_not_work_is_said(made):
    done = run("mute", "--key", id := made(expires_at=1.0))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"{id} (mine) is expired: the answer is 401 invalid_api_key.\n"
    assert run("mute", "--key", "key_1").stderr.startswith("There is no key key_1. ")


def test_wildcard_shows_the_name_that_the_upstream_hears(configured):
    done = run("vendor/big")
    assert section(done, "/v1/chat/completions") == "  1. gamma as other/big: priority 0, ok"
    assert "stream: true" not in done.stdout  # nothing differs for streams


def test_discovered_model_is_explained_too(configured):
    assert "1. gamma as echo: priority 0, ok" in run("echo").stdout


def test_call_that_nobody_can_take_says_what_the_client_hears(configured):
    done = run("mute")
    assert section(done, "/v1/chat/completions, stream: true") == (
        "  -  beta as mute: skipped, it cannot stream\n  The answer is 400 stream_not_supported."
    )
    assert section(run("deaf"), "/v1/responses") == (
        "  -  delta as deaf: skipped, it does not speak responses\n"
        "  The answer is 400 endpoint_not_supported."
    )


def test_weight_0_stands_behind_its_equals(configured):
    assert section(run("spare"), "/v1/chat/completions").splitlines() == [
        "  1. gamma as spare: priority 0 with 100% of the conversations, ok",
        "  2. beta as spare: priority 0 with 0% of the conversations, ok",
    ]


@pytest.mark.parametrize("model", ["nope", "vendor/", "x" * 300, "a\nb"])
def test_unknown_model_is_a_sentence_and_exit_1(configured, model):
    done = run(model)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"There is no model {model}. The command gateway models lists what there is.\n"
    )


def test_model_that_may_be_at_an_upstream_that_is_down_says_which(folder, monkeypatch):
    with refused_url() as dead:
        monkeypatch.setenv("GATEWAY_UPSTREAM_URL", dead)
        done = run("gpt")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "What upstream offers is not known: unreachable.",
        "There is no model gpt. The command gateway models lists what there is.",
    ]


def test_without_a_configuration_it_says_what_there_would_be(folder):
    done = run("smollm2-135m-instruct")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("There is no configuration. ")
    assert "gateway serve" in done.stderr and "GATEWAY_CONFIG" in done.stderr


def test_mistakes_in_the_configuration_come_first(folder):
    (folder / "gateway.toml").write_text("[server]\nbindd = 1\n")
    done = run("m")
    assert (done.exit_code, done.stdout) == (2, "") and "bindd" in done.stderr
