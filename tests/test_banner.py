import io
import json
import shlex
from types import SimpleNamespace

import pytest

from gateway import banner

KEY = "sk-" + "b" * 12 + "-" + "n" * 43


def settings(*models, bind="127.0.0.1:8000"):
    return SimpleNamespace(models=dict.fromkeys(models), server=SimpleNamespace(bind=bind))


def shown(found, environ):
    out = io.StringIO()
    banner.show(found, environ, out)
    return out.getvalue()


def pasted(text):
    """Return the words of the curl line as a shell reads them."""
    line = text.partition("From a shell:\n\n")[2].partition("\n\n")[0]
    return shlex.split(line)


def test_banner_says_where_it_is_and_shows_the_key_and_the_first_model():
    text = shown(settings("smol", "smol-embed"), {"GATEWAY_START_KEY": KEY})
    assert "  Base URL  http://127.0.0.1:8000/v1\n" in text
    assert f"  API key   {KEY}\n" in text
    assert "  Model     smol\n" in text


@pytest.mark.parametrize("models, key", [(["m"], None), (["m"], ""), ([], KEY)])
def test_start_that_made_no_key_or_offers_nothing_shows_nothing(models, key):
    assert shown(settings(*models), {"GATEWAY_START_KEY": key}) == ""


@pytest.mark.parametrize(
    "bind, url",
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("0.0.0.0:80", "http://127.0.0.1:80/v1"),
        ("[::1]:8000", "http://[::1]:8000/v1"),
        ("[::]:8000", "http://[::1]:8000/v1"),
        ("gateway.example:8000", "http://gateway.example:8000/v1"),
        ("unix:/run/gateway.sock", "http://localhost/v1"),
    ],
)
def test_base_url_is_one_that_this_machine_can_reach(bind, url):
    assert banner.base_url(bind) == url


@pytest.mark.parametrize("model", ["smol", "it's", 'a"b', "$HOME `x`", "a\\b"])
def test_curl_line_works_as_it_is_pasted(model):
    words = pasted(banner.text("127.0.0.1:8000", KEY, model))
    assert words[:3] == ["curl", "-sS", "http://127.0.0.1:8000/v1/chat/completions"]
    assert f"Authorization: Bearer {KEY}" in words
    body = json.loads(words[-1])
    assert (body["model"], body["temperature"]) == (model, 0)
    assert body["messages"][0]["content"] == banner.QUESTION


@pytest.mark.parametrize("model", ["smol", 'a"b', "it's"])
def test_python_lines_work_as_they_are_pasted(model, monkeypatch):
    text = banner.text("127.0.0.1:8000", KEY, model)
    lines = text.partition("(pip install openai):\n\n")[2].partition("\n\n")[0]
    assert len(lines.splitlines()) == 5
    made = {}

    class Completions:
        @staticmethod
        def create(**how):
            made.update(how)
            return SimpleNamespace(
                choices=[SimpleNamespace(message=SimpleNamespace(content="Paris"))]
            )

    def client(**how):
        made.update(how)
        return SimpleNamespace(chat=SimpleNamespace(completions=Completions))

    monkeypatch.setitem(__import__("sys").modules, "openai", SimpleNamespace(OpenAI=client))
    said = []
    exec(lines, {"print": said.append})
    assert said == ["Paris"]
    assert (made["model"], made["api_key"]) == (model, KEY)
    assert made["base_url"] == "http://127.0.0.1:8000/v1"


def test_socket_is_named_where_curl_needs_it():
    text = banner.text("unix:/run/my gateway.sock", KEY, "smol")
    assert "on the socket /run/my gateway.sock" in text
    assert pasted(text)[2:4] == ["--unix-socket", "/run/my gateway.sock"]
    assert "from openai" not in text
