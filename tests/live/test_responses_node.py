"""openai-node uses the Responses API of a model over chat: its calls are in node/responses.mjs."""

import json
import os
import subprocess

import pytest

from tests.live.test_openai_node import SCRIPT, SDK, node  # noqa: F401
from tests.live.translated import PARIS, agent, chat_gateway, chat_upstream  # noqa: F401
from tests.translate.published import faults

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def found(node, gateway, upstream):  # noqa: F811
    upstream.always(agent, path="/chat/completions")
    environ = {**os.environ, "BASE_URL": gateway.url, "API_KEY": gateway.key, "MODEL": "chatty"}
    script = SCRIPT.with_name("responses.mjs")
    done = subprocess.run(
        [node, script, SDK], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["create", "helper"])
def test_node_reads_the_answer(found, name):
    assert found[name]["output_text"] == "Say hello" and found[name]["status"] == "completed"


def test_node_reads_the_stream(found):
    assert [fault for event in found["streamed"] for fault in faults(event)] == []
    assert found["streamed"][-1]["type"] == "response.completed"


def test_node_parses_the_answer(found):
    assert found["parsed"]["output_parsed"] == {"city": "Paris"}


@pytest.mark.parametrize("name", ["loop", "streamedLoop"])
def test_nodes_loop_ends_with_what_the_tools_gave(found, name):
    words = [f"{tool} of {PARIS}" for tool in ("get_weather", "get_time")]
    assert found[name] == {"text": " and ".join(words), "turns": 2}


def test_node_raises_what_is_refused(found):
    refused = found["refused"]
    assert (refused["raised"], refused["param"]) == ("BadRequestError", "tools[0].type")
