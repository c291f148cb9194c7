"""Keys as operators make and change them and as SDKs use them, over two workers."""

import json
import threading
import time

import openai
import pytest

from tests.live.test_operations import cli
from tests.serving import Gateway, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

HELLO = [{"role": "user", "content": "Say this is a test"}]
MORE = """
[[model]]
id = "team/llm-a"
upstreams = [{ name = "mock", model = "echo" }]
"""
TURNS = 30  # calls on fresh connections that both of two workers are sure to see


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with ScriptedUpstream() as upstream:
        path = write_config(tmp_path_factory.mktemp("keys"), upstream.url, more=MORE)
        with Gateway(path, workers=2) as running:
            yield running


@pytest.fixture
def make(gateway):
    """Return a function that makes a key by the command line."""
    return lambda *options: cli(gateway, "keys", "create", "mine", *options).stdout.strip()


def sdk(gateway, secret):
    return openai.OpenAI(base_url=gateway.url, api_key=secret, max_retries=0, timeout=10)


def models(gateway, secret):
    """Return the models that a call on a connection of its own is shown; None for a 401."""
    with sdk(gateway, secret) as client:
        try:
            return [model.id for model in client.models.list()]
        except openai.AuthenticationError:
            return None


def id_of(secret):
    return f"key_{secret[3:15]}"


def seen_by_all(gateway, secret, expected, seconds=3):
    """Wait until calls on many connections all get the same, and only for so long."""
    deadline = time.monotonic() + seconds
    while True:
        late = time.monotonic() > deadline
        found = [models(gateway, secret) for _ in range(TURNS)]
        if all(each == expected for each in found):
            return
        assert not late, found


def test_key_may_use_its_models_and_endpoints_alone(gateway, make):
    secret = make("--models", "gpt-test,team/*,mock-b", "--endpoints", "chat", "--metadata=a=b")
    with sdk(gateway, secret) as client:
        assert [m.id for m in client.models.list()] == ["gpt-test", "mock-b", "team/llm-a"]
        assert client.models.retrieve("team/llm-a").id == "team/llm-a"
        answer = client.chat.completions.create(model="gpt-test", messages=HELLO)
        assert (answer.model, answer.choices[0].message.content) == (
            "gpt-test", HELLO[0]["content"],
        )  # fmt: skip
        stream = client.chat.completions.create(model="team/llm-a", messages=HELLO, stream=True)
        assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices)

        errors = []
        for model in ("mock-429", "nope"):  # the one is there for others, the other for nobody
            with pytest.raises(openai.NotFoundError) as found:
                client.chat.completions.create(model=model, messages=HELLO)
            errors.append({**found.value.body, "message": found.value.message.replace(model, "")})
            with pytest.raises(openai.NotFoundError):
                client.models.retrieve(model)
        assert errors[0] == errors[1] and errors[0]["code"] == "model_not_found"
        with pytest.raises(openai.PermissionDeniedError) as refused:
            client.embeddings.create(model="gpt-test", input="hi")
        assert refused.value.code == "endpoint_not_allowed"


def test_key_works_with_every_worker_at_once_and_a_change_and_its_end_are_felt(gateway, make):
    secret = make("--models", "gpt-test")
    assert [models(gateway, secret) for _ in range(TURNS)] == [["gpt-test"]] * TURNS

    cli(gateway, "keys", "update", id_of(secret), "--models", "team/*")
    seen_by_all(gateway, secret, ["team/llm-a"])
    cli(gateway, "keys", "revoke", id_of(secret))
    seen_by_all(gateway, secret, None)


def test_key_expires_on_every_worker(gateway, make):
    secret = make("--expires", "4s", "--models", "gpt-test")
    made = json.loads(cli(gateway, "keys", "show", id_of(secret), "--json").stdout)
    models(gateway, secret)

    time.sleep(max(0, made["expires_at"] - time.time()))
    assert [models(gateway, secret) for _ in range(TURNS)] == [None] * TURNS


def test_rotation_with_a_grace_fails_no_call_of_either_secret(gateway, make):
    old = make()
    secrets, faults, stop, calls = [old], [], threading.Event(), [0]

    def load(worker):
        while not stop.is_set():
            for secret in list(secrets):
                with sdk(gateway, secret) as client:
                    try:
                        client.chat.completions.create(model="gpt-test", messages=HELLO)
                        calls[0] += 1
                    except openai.OpenAIError as exc:
                        faults.append((worker, secrets.index(secret), exc))

    threads = [threading.Thread(target=load, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            done = cli(gateway, "keys", "rotate", id_of(old), "--grace", "1h")
            secrets.append(done.stdout.strip())
            before = calls[0]
            time.sleep(2.5)  # longer than the workers take to read what has changed
            assert calls[0] > before
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert faults == []
    assert {secret[:15] for secret in secrets} == {old[:15]}
    last = cli(gateway, "keys", "rotate", id_of(old)).stdout.strip()
    for secret in secrets:
        seen_by_all(gateway, secret, None)
    assert None not in [models(gateway, last) for _ in range(TURNS)]
    keys = {line["key"] for line in gateway.lines(endpoint="chat", status=200)}
    assert id_of(old) in keys


def test_nothing_of_a_key_but_its_id_is_in_the_log(gateway, make):
    secret = make("--metadata", "team=zebra", "--models", "gpt-test")
    models(gateway, secret)

    gateway.wait_lines(1, key=id_of(secret))
    log = gateway.log_path.read_text()
    assert secret[16:] not in log and "zebra" not in log
