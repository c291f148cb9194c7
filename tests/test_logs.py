import errno
import io
import json
import logging
import logging.config
import os
import threading

import pytest

from gateway import logs
from gateway.logs import JSONFormatter, Line, Lines
from gateway.tokens import Usage

CANARY = "CANARY-prompt"
# The names that last.
NAMES = (
    "request_id client_request_id key method path endpoint model upstream attempts status code "
    "stream ttft_ms total_ms upstream_ms input_tokens output_tokens end"
).split()


def formatted(level=logging.ERROR, message="said", error=None, args=()):
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("gateway", level, __file__, 1, message, args, info)
    text = JSONFormatter().format(record)
    assert "\n" not in text
    return json.loads(text)


def caught(function):
    try:
        function()
    except Exception as exc:
        return exc


def fail_with(error):
    raise error


def test_line_has_the_names_that_last_in_their_order():
    line = Line("req_1", "POST", "/v1/x", "mine", clock=lambda: 10.0)
    fields = line.fields(10.5)

    assert list(fields) == NAMES
    assert (fields["request_id"], fields["client_request_id"]) == ("req_1", "mine")
    assert (fields["total_ms"], fields["ttft_ms"], fields["end"]) == (500.0, None, "ok")
    assert (fields["stream"], fields["input_tokens"]) == (False, None)


def test_line_writes_times_in_milliseconds_and_tokens_as_counted():
    line = Line("req_1", "POST", "/", clock=lambda: 1.0)
    line.ttft, line.upstream_seconds, line.usage = 0.0123456, 0.2, Usage(input=7, output=0)
    fields = line.fields(2.0)

    assert (fields["ttft_ms"], fields["upstream_ms"]) == (12.35, 200.0)
    assert (fields["input_tokens"], fields["output_tokens"]) == (7, 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.0005, "2023-11-14T22:13:20.000Z"),
        (1_700_000_000.9999, "2023-11-14T22:13:20.999Z"),
    ],
)
def test_time_is_utc_with_milliseconds(seconds, text):
    assert logs.timestamp(seconds) == text


def test_record_is_one_json_object_on_one_line():
    found = formatted(logging.WARNING, "two\nlines of %s", args=("é\u2028",))

    assert list(found) == ["ts", "level", "logger", "message"]
    assert (found["level"], found["logger"]) == ("warning", "gateway")
    assert found["message"] == "two\nlines of é\u2028"


@pytest.mark.parametrize(
    "error", [ValueError(CANARY), KeyError(CANARY), RuntimeError(CANARY), Exception(CANARY),
              UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, CANARY)],
)  # fmt: skip
def test_exception_that_may_quote_a_prompt_is_told_by_its_place_alone(error):
    found = formatted(error=caught(lambda: fail_with(error)))

    assert CANARY not in json.dumps(found)
    assert found["exception"]["type"] == type(error).__name__
    assert found["exception"]["frames"][-1].endswith(" fail_with")


def test_exception_that_names_types_and_places_keeps_its_words():
    found = formatted(error=caught(lambda: None + 1))
    assert "unsupported operand" in found["exception"]["message"]


def test_cause_of_an_exception_is_told_too_and_without_its_words():
    def chain():
        try:
            json.loads(CANARY)
        except ValueError as exc:
            raise RuntimeError(CANARY) from exc

    found = formatted(error=caught(chain))["exception"]
    assert found["cause"]["type"] == "JSONDecodeError"
    assert CANARY not in json.dumps(found)


def test_gunicorn_s_loggers_speak_the_same_way():
    found = logs.configuration()
    assert set(found["loggers"]) == {"gateway", "gunicorn.error"}
    logging.config.DictConfigurator(found)


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file:
        yield file, writing
        os.close(writing)


def test_lines_are_written_at_once_while_nothing_gathers_them(pipe):
    file, descriptor = pipe
    lines = Lines(descriptor)
    lines.add("info", {"a": "é\n"})

    found = json.loads(file.readline())
    assert list(found) == ["ts", "level", "a"]
    assert (found["level"], found["a"]) == ("info", "é\n")


def test_gathered_lines_are_all_written_in_order(pipe):
    file, descriptor = pipe
    lines, stop = Lines(descriptor), threading.Event()
    lines.INTERVAL = 0.01
    runner = threading.Thread(target=lines.run, args=(stop,))
    runner.start()
    for number in range(500):
        lines.add("info", {"number": number})
    found = [json.loads(file.readline())["number"] for _ in range(500)]
    stop.set()
    runner.join(5)

    assert found == list(range(500))


def test_lines_that_nobody_takes_are_dropped_and_counted(pipe, caplog, monkeypatch):
    file, descriptor = pipe
    monkeypatch.setattr(logging.getLogger("gateway"), "propagate", True)
    lines = Lines(descriptor)
    lines.running, lines.MOST = True, 3
    for number in range(5):
        lines.add("info", {"number": number})
    lines.flush()

    assert [json.loads(file.readline())["number"] for _ in range(3)] == [0, 1, 2]
    assert [record.getMessage() for record in caplog.records] == ["log lines dropped: 2"]


def test_full_disk_loses_lines_that_are_counted_and_no_later_one(pipe, caplog, monkeypatch):
    file, descriptor = pipe
    monkeypatch.setattr(logging.getLogger("gateway"), "propagate", True)
    full = os.open("/dev/full", os.O_WRONLY)
    lines, stop = Lines(full), threading.Event()
    lines.INTERVAL = 0.01
    runner = threading.Thread(target=lines.run, args=(stop,))
    runner.start()
    for number in range(3):
        lines.add("info", {"number": number})
    while lines.lost < 3:
        stop.wait(0.01)
    lines.descriptor = descriptor
    lines.add("info", {"number": 3})

    assert json.loads(file.readline())["number"] == 3
    stop.set()
    runner.join(5)
    os.close(full)
    assert (lines.lost, caplog.messages) == (3, ["log lines dropped: 3"])


def test_line_behind_one_that_was_cut_off_begins_anew(pipe, monkeypatch):
    file, descriptor = pipe
    lines = Lines(descriptor)
    lines.running = True

    def cut(to, data, write=os.write):
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(to, data[: len(data) - 10])

    monkeypatch.setattr(logs.os, "write", cut)
    lines.add("info", {"number": 0})
    lines.flush()
    monkeypatch.undo()
    lines.add("info", {"number": 1})
    lines.flush()

    assert not file.readline().endswith(b"}\n")
    assert json.loads(file.readline())["number"] == 1
    assert lines.lost == 1


def test_formatter_takes_what_json_cannot_hold():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter())
    handler.handle(logging.makeLogRecord({"name": "x", "levelno": 20, "msg": "\x00\x1b[31m%s",
                                          "args": (object,), "levelname": "INFO"}))  # fmt: skip
    assert json.loads(stream.getvalue())["message"].startswith("\x00\x1b[31m<class")
