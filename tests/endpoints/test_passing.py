"""A client's trace goes on to upstreams as it is; what is no trace goes nowhere."""

import pytest

from gateway.endpoints.passing import passed

CHAT = "/v1/chat/completions"
GOOD = {"model": "gpt-test", "messages": [{"role": "user", "content": "Say this is a test"}]}
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "value",
    [PARENT, f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-01-what-is-new"],
)
def test_valid_parent_is_passed_unchanged(value):
    assert passed({"HTTP_TRACEPARENT": value}) == {"traceparent": value}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01 ",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"{PARENT},{PARENT}",
        f"01-{TRACE}-{SPAN}-01-{'x' * 5000}",
        f"01-{TRACE}-{SPAN}-01-a\r\nx: y",
        f"00-{TRACE}-{SPAN}-٠١",
    ],
)
def test_invalid_parent_is_dropped_and_its_state_with_it(value):
    assert passed({"HTTP_TRACEPARENT": value, "HTTP_TRACESTATE": "a=b"}) == {}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("congo=t61rcWkgMzE", True),
        ("a=1, b=2,c@d=3/x y", True),
        (",".join(f"k{number}=v" for number in range(32)), True),
        (",".join(f"k{number}=v" for number in range(33)), False),
        ("a=" + "x" * 510, False),
        ("a=1,a=2", False),
        ("A=1", False),
        ("a", False),
        ("a=", False),
        ("a=1=2", False),
        (" , ", False),
        ("a=\x01", False),
        ("a=é", False),
        ("", False),
    ],
)
def test_state_is_passed_within_its_limits_and_only_beside_a_parent(value, kept):
    state = {"tracestate": value} if kept else {}
    given = {"HTTP_TRACEPARENT": PARENT, "HTTP_TRACESTATE": value}
    assert passed(given) == {"traceparent": PARENT, **state}
    assert passed({"HTTP_TRACESTATE": value}) == {}


@pytest.mark.parametrize(
    ("value", "kept"),
    [("assistants=v2", True), ("a=1, b=2", True), ("x" * 257, False), ("é", False), ("", False)],
)
def test_beta_features_are_passed(value, kept):
    assert passed({"HTTP_OPENAI_BETA": value}) == ({"OpenAI-Beta": value} if kept else {})


@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/v1/embeddings"])
@pytest.mark.parametrize("stream", [False, True])
def test_trace_reaches_the_upstream(client, upstream, lines, path, stream):
    body = {"model": "gpt-test", "stream": stream} if path != "/v1/embeddings" else GOOD | {}
    body |= {"messages": GOOD["messages"]} if path == CHAT else {"input": "x"}
    body.pop("messages", None) if path != CHAT else None
    headers = {"traceparent": PARENT, "tracestate": "a=b", "baggage": "user=me"}
    answer = client.post(path, json={"model": "gpt-test", **body}, headers=headers)
    assert answer.status_code == 200 and answer.data
    answer.close()

    sent = upstream.requests[-1].headers
    assert (sent["traceparent"], sent["tracestate"]) == (PARENT, "a=b")
    assert "baggage" not in sent and "openai-beta" not in sent
    assert "traceparent" not in {name.lower() for name in answer.headers.keys()}
    (line,) = lines
    assert TRACE not in repr(line)


def test_none_is_made_up_and_an_invalid_one_goes_nowhere(client, upstream):
    for headers in ({}, {"traceparent": "00-1-2-3", "tracestate": "a=b"}):
        assert client.post(CHAT, json=GOOD, headers=headers).status_code == 200
        assert not {"traceparent", "tracestate"} & set(upstream.requests[-1].headers)
