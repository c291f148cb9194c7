"""What a client has to see of a fault: an error in the contract's shape that gives nothing away."""

import re

PROMPT = "Say hi to all of us"
SECRET = "sk-upstream-secret"
TYPES = {
    "upstream_unreachable": "upstream_error",
    "upstream_reset": "upstream_error",
    "upstream_bad_response": "upstream_error",
    "upstream_auth_failed": "upstream_error",
    "upstream_timeout": "timeout_error",
    "rate_limit_exceeded": "rate_limit_error",
    "no_healthy_upstream": "server_error",
    "server_overloaded": "server_error",
}
UNSAFE = re.compile(rf"{SECRET}|127\.0\.0|localhost|<html|<!doctype|Traceback", re.IGNORECASE)


def assert_no_traceback(log):
    for line in log.decode(errors="replace").splitlines():
        assert "Traceback" not in line and '"exception"' not in line, line


def assert_error(answer, status, code, param=None, retry=None, source="upstream"):
    """Assert an HTTP error in the contract's shape that gives nothing of the upstream away."""
    assert (answer.status, answer.error["code"]) == (status, code), answer.body
    assert answer.headers["content-type"] == "application/json"
    assert_envelope(answer.json, code, param)
    assert answer.headers["x-gateway-error-source"] == source
    assert answer.headers["x-request-id"].startswith("req_")
    if retry is not None:
        assert answer.headers["x-should-retry"] == ("true" if retry else "false")
    assert_safe(answer)


def assert_envelope(body, code, param=None):
    error = body["error"]
    assert set(body) == {"error"} and set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"]
    assert error["type"] == TYPES.get(code, error["type"])
    assert (error["code"], error["param"]) == (code, param)


def assert_safe(answer):
    """Assert that an answer holds no address, key, page or header of the upstream."""
    headers = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
    assert not UNSAFE.search(headers + answer.body.decode())
    assert not {"set-cookie", "location", "x-hop", "link"} & set(answer.headers)


def assert_broken(answer, endpoint, code, param=None, events=1):
    """Assert a committed stream that ends in one error, after at least so many events."""
    assert answer.status == 200, answer.body
    assert_safe(answer)
    *before, last = answer.events
    if endpoint == "chat":
        assert_envelope(last, code, param)
        assert not [event for event in before if event == "[DONE]" or "error" in event]
    else:
        assert last == "[DONE]"
        *before, failed = before
        assert failed["type"] == "response.failed"
        assert failed["response"]["status"] == "failed"
        assert failed["response"]["error"]["code"] == code
        numbers = [event["sequence_number"] for event in [*before, failed]]
        assert numbers == list(range(len(numbers)))
    assert len(before) >= events


def assert_complete(answer, stream):
    """Assert a right answer to a chat, whole or streamed."""
    assert answer.status == 200, answer.body
    assert answer.text == PROMPT
    assert_safe(answer)
    if stream:
        assert answer.events.count("[DONE]") == 1 and answer.events[-1] == "[DONE]"
        assert not [event for event in answer.events if "error" in event]
