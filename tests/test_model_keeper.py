import contextlib
import http.server
import os
import socket
import sys
import threading
import types

import pytest

from gateway import model_keeper
from gateway.model_keeper import StartError


@pytest.fixture
def model():
    """Return a function that starts Python code in the model's place."""
    with contextlib.ExitStack() as stack:

        def start(code):
            made = model_keeper.Model([sys.executable, "-c", code])
            stack.callback(made.end)
            return made

        yield start


@contextlib.contextmanager
def server(status):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made.server_port
        finally:
            made.shutdown()
            thread.join()


def test_held_port_can_be_served_and_stays_free_for_the_next_server():
    with model_keeper.hold_port() as held:
        address = held.getsockname()
        for _ in range(2):
            with socket.socket() as serving:
                serving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                serving.bind(address)
                serving.listen()
                with socket.create_connection(address, timeout=2), serving.accept()[0]:
                    pass


def test_held_port_alone_answers_nobody():
    with model_keeper.hold_port() as held:
        assert not model_keeper.healthy(held.getsockname()[1])


@pytest.mark.parametrize("status, expected", [(200, True), (503, False), (404, False)])
def test_server_is_healthy_only_with_200(status, expected):
    with server(status) as port:
        assert model_keeper.healthy(port) is expected


@pytest.mark.parametrize(
    "pause, lived, expected",
    [
        (0, 0, 1),
        (1, 0, 2),
        (16, 5, 30),
        (30, 59, 30),
        (30, 60, 1),
        (0, 3600, 1),
    ],
)
def test_pause_doubles_up_to_half_a_minute_and_shrinks_after_a_steady_minute(
    pause, lived, expected
):
    assert model_keeper.next_pause(pause, lived) == expected


@pytest.mark.parametrize(
    "code, cause",
    [
        ("import sys; print('no luck'); sys.exit(3)", "exit code 3"),
        ("import os; print('no luck', flush=True); os.kill(os.getpid(), 9)", "SIGKILL"),
    ],
)
def test_model_that_ends_while_loading_is_an_error_with_its_last_words(model, code, cause):
    loading = model(code)
    loading.start()
    with pytest.raises(StartError) as caught:
        loading.wait_until_ready([1], os.getppid())
    assert str(caught.value) == f"The local model did not start: it ended ({cause}).\n  no luck"


def test_model_that_never_answers_is_an_error_after_the_time_limit(model, monkeypatch):
    monkeypatch.setattr(model_keeper, "START_LIMIT", 0.1)
    loading = model("import time; time.sleep(60)")
    loading.start()
    with pytest.raises(StartError, match="no answer within 0.1 s"):
        loading.wait_until_ready([1], os.getppid())


def test_model_is_ready_when_every_port_is_healthy(model):
    loading = model("import time; time.sleep(60)")
    loading.start()
    with server(200) as chat, server(200) as embed:
        loading.wait_until_ready([chat, embed], os.getppid())


def test_keeper_without_its_parent_ends(model):
    running = model("import time; time.sleep(60)")
    running.start()
    with pytest.raises(SystemExit):
        running.wait_until_ended(parent=-1)


def test_all_that_the_model_says_goes_to_the_log_file(model, tmp_path):
    log = tmp_path / "model.log"
    running = model("print('loading'); print('ready')")
    running.open_log(log)
    running.start()
    cause, lived = running.wait_until_ended(os.getppid())
    running.reader.join()
    running.log.close()
    assert (cause, log.read_text()) == ("exit code 0", "loading\nready\n")
    assert lived < 30


def test_log_file_that_cannot_be_written_is_an_error(model, tmp_path):
    with pytest.raises(StartError, match="GATEWAY_LOCAL_MODEL_LOG: .*No such file or directory"):
        model("").open_log(tmp_path / "none" / "model.log")


@pytest.fixture
def library():
    """Stand in for xllamacpp with a settings object that takes any attribute."""
    settings = lambda: types.SimpleNamespace(model=types.SimpleNamespace())  # noqa: E731
    return types.SimpleNamespace(
        CommonParams=settings, llama_pooling_type=types.SimpleNamespace(LLAMA_POOLING_TYPE_MEAN=1)
    )


def test_both_servers_stay_on_loopback_and_show_no_prompts(library):
    for settings in (
        model_keeper.chat_settings(library, "x.gguf", "chatml", 1),
        model_keeper.embed_settings(library, "x.gguf", 2),
    ):
        assert settings.hostnames == ["127.0.0.1"]
        assert not settings.endpoint_slots


def test_file_without_a_template_given_keeps_its_own(library):
    assert model_keeper.chat_settings(library, "x", "chatml", 1).chat_template == "chatml"
    assert not hasattr(model_keeper.chat_settings(library, "x", "", 1), "chat_template")
