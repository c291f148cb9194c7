import json
import os

import pytest
from click.testing import CliRunner

from gateway import mock
from gateway.cli import main
from tests.upstream import ScriptedUpstream, refused_url

CONFIG = """
[[upstream]]
name = "dead"
base_url = "{dead}"
endpoints = ["chat", "responses"]

[[upstream]]
name = "alive"
base_url = "{alive}"
stream = false
discover = true

[[model]]
id = "gpt"
upstreams = [
    {{ name = "dead", model = "a[red]b", priority = 2, weight = 0.5 }},
    {{ name = "alive", model = "{long}" }},
]

[[model]]
id = "vendor/*"
upstreams = [{{ name = "dead" }}]
"""
LONG = "a-rather-long-name-" * 10 + "end"


def run(*arguments):
    return CliRunner().invoke(
        main, ["models", *arguments], prog_name="gateway", catch_exceptions=False
    )


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def alive(folder):
    with ScriptedUpstream(models=("echo",)) as upstream, refused_url() as dead:
        text = CONFIG.format(alive=upstream.url, dead=dead, long=LONG)
        (folder / "gateway.toml").write_text(text)
        yield upstream


def rows(done):
    return [line.split() for line in done.stdout.splitlines()]


def test_each_model_and_upstream_is_a_line_with_its_health(alive):
    done = run()
    assert (done.exit_code, done.stderr) == (0, "")
    title, *found = rows(done)
    assert title[:2] == ["model", "upstream"] and title[-2:] == ["speaks", "health"]
    no_streams = ["chat", "embeddings", "(no", "streams)", "ok"]
    assert found == [
        ["echo", "alive", "echo", "0", "1", *no_streams],
        ["gpt", "alive", LONG, "0", "1", *no_streams],
        ["gpt", "dead", "a[red]b", "2", "0.5", "chat", "responses", "unreachable"],
        ["vendor/*", "dead", "*", "0", "1", "chat", "responses", "unreachable"],
    ]


def test_json_is_for_programs(alive):
    found = json.loads(run("--json").stdout)
    assert [row["model"] for row in found] == ["echo", "gpt", "gpt", "vendor/*"]
    assert found[2] == {
        "model": "gpt",
        "upstream": "dead",
        "upstream_model": "a[red]b",
        "priority": 2,
        "weight": 0.5,
        "endpoints": ["chat", "responses"],
        "stream": True,
        "health": "unreachable",
    }


@pytest.mark.parametrize(
    "answer, health",
    [
        (mock.error(401, "no"), "answers 401 to GET /models"),
        (mock.error(404, "no"), "answers 404 to GET /models"),
        (mock.error(503, "no"), "answers 503 to GET /models"),
        (mock.error(429, "no"), "answers 429 to GET /models"),
        (mock.redirect("http://127.0.0.1:9/"), "answers 307 to GET /models"),
        (mock.json({"models": []}), "bad response"),
        (mock.raw([b"\x00\x01nonsense\r\n\r\n"]), "bad response"),
    ],
)
def test_upstream_that_does_not_list_its_models_is_said(alive, answer, health):
    alive.always(answer, path="/models")
    done = run("--json")
    found = {row["upstream"]: row["health"] for row in json.loads(done.stdout)}
    assert found == {"alive": health, "dead": "unreachable"}
    assert done.stderr == f"What alive offers is not known: {health}.\n"


def test_nothing_at_all_is_said_too(folder, monkeypatch):
    with refused_url() as dead:
        monkeypatch.setenv("GATEWAY_UPSTREAM_URL", dead)
        done = run()
        assert (done.exit_code, done.stdout) == (0, "")
        assert done.stderr.splitlines() == [
            "What upstream offers is not known: unreachable.",
            "There are no models.",
        ]
        assert run("--json").stdout == "[]\n"


def test_without_a_configuration_it_says_what_there_would_be(folder):
    done = run()
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("There is no configuration. ")
    assert done.stderr.count("\n") == 1
