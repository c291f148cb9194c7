"""One fault is told: missing fields before types before bounds, in the order of the body."""

import time

import pytest

from gateway.errors import GatewayError
from gateway.schemas.chat import ChatCompletion
from gateway.schemas.embeddings import Embeddings
from gateway.schemas.responses import CreateResponse
from tests.schemas.chat_good import HELLO, TOOL, chat, user


def fault(schema, body):
    with pytest.raises(GatewayError) as caught:
        schema.check(body)
    return caught.value


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m", "n": "x", "temperature": 9}, "messages"),
        (chat(n="x", temperature=9, tools=[{}]), "tools[0].type"),
        (chat([{"role": "x", "content": 5}, {}]), "messages[1].role"),
        (user({"type": "text", "text": 5}, {"type": "text"}), "messages[0].content[1].text"),
        ({"model": "m", "tools": [{}], "messages": [{}]}, "tools[0].type"),
        ({"model": "m", "messages": [{}], "tools": [{}]}, "messages[0].role"),
        (chat(n=0, temperature="x"), "temperature"),
        (chat([], n="x"), "n"),
        (chat([{"role": "x"}, HELLO], stop=5), "stop"),
        (chat(n="x", top_p="x"), "n"),
        (chat(top_p="x", n="x"), "top_p"),
        (chat(["x", None]), "messages[0]"),
        (chat(n=0, top_p=9), "n"),
        (chat(top_p=9, n=0), "top_p"),
        (chat(stop=[5] * 5), "stop[0]"),
        (chat([{"role": "user", "name": 5}]), "messages[0].content"),
    ],
)
def test_first_fault_of_the_first_rank_is_told(body, param):
    assert fault(ChatCompletion, body).param == param


def test_parameter_names_are_made_printable_and_short():
    error = fault(ChatCompletion, chat(metadata={"a\r\nb\u202e" + "x" * 500: 5}))
    assert error.param == "metadata.a\\r\\nb\\u202e" + "x" * 85 + "..."
    assert error.message.isprintable()


TEXT = {"type": "text", "text": "x"}
MANY = 83_000
HUGE = [
    (ChatCompletion, {"model": "m", "messages": [{}] * MANY}, "messages[0].role"),
    (ChatCompletion, chat([HELLO] * MANY), None),
    (ChatCompletion, chat([HELLO] * MANY + [5]), f"messages[{MANY}]"),
    (ChatCompletion, chat([{"role": "x"}] * MANY), "messages[0].role"),
    (ChatCompletion, chat([{"role": "user", "content": 5}] * MANY), "messages[0].content"),
    (ChatCompletion, chat([5] * 3 * MANY), "messages[0]"),
    (ChatCompletion, user(*[TEXT] * MANY), None),
    (ChatCompletion, chat(tools=[TOOL] * MANY), None),
    (ChatCompletion, chat(stop=[5] * 3 * MANY), "stop[0]"),
    (ChatCompletion, chat(logit_bias=dict.fromkeys(map(str, range(3 * MANY)), 1)), None),
    (ChatCompletion, chat(metadata=dict.fromkeys(map(str, range(3 * MANY)), 1)), "metadata.0"),
    (ChatCompletion, chat(**dict.fromkeys(map(str, range(3 * MANY)), 1)), None),
    (CreateResponse, {"model": "m", "input": [HELLO] * MANY}, None),
    (CreateResponse, {"model": "m", "input": [{}] * MANY}, "input[0].role"),
    (Embeddings, {"model": "m", "input": [1] * 3 * MANY}, "input"),
    (Embeddings, {"model": "m", "input": [[1] * 3 * MANY]}, None),
    (Embeddings, {"model": "m", "input": [[1]] * MANY}, "input"),
]


@pytest.mark.parametrize(("schema", "body", "param"), HUGE, ids=lambda value: str(value)[:50])
def test_huge_bodies_are_judged_quickly(schema, body, param):
    start = time.process_time()
    if param is None:
        schema.check(body)
    else:
        assert fault(schema, body).param == param
    # Ten times what it takes, for slow machines; marshmallow's load() would take over 3 s.
    assert time.process_time() - start < 0.5
