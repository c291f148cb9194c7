import json
from functools import partial

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.config.shape import Jobs as Settings
from gateway.jobs.background import Background
from gateway.jobs.store import Jobs
from gateway.recordings import Recordings
from gateway.stored import Stored

MINE, YOURS = "key_000000000001", "key_000000000002"
UNKNOWN = "job_" + "0" * 32
SECRET = "what nobody else may read"


@pytest.fixture
def store(database):
    return Jobs(database, Settings())


def run(*arguments):
    return CliRunner().invoke(main, ["jobs", *arguments])


def add(store, key=MINE, model="m", **more):
    asked = {"model": model, "messages": [{"role": "user", "content": SECRET}], **more}
    return store.add(key, "chat", asked, "req_1").id


def complete(store):
    claimed = store.claim("w")
    answer = json.dumps({"said": SECRET}).encode()
    usage = {"total_tokens": 5}
    assert store.finish(claimed, "completed", result_status=200, result=answer, usage=usage)
    return claimed.id


def test_jobs_are_listed_newest_first(store):
    first, second = add(store, model="[red]x"), add(store, YOURS)
    store.cancel(YOURS, second)

    lines = run("list").stdout.splitlines()
    assert lines[0].split() == [
        "id", "key", "endpoint", "model", "status", "created", "ended", "attempts",
    ]  # fmt: skip
    assert lines[1].startswith(f"{second}  {YOURS}  chat")
    assert "cancelled" in lines[1]
    assert lines[2].startswith(f"{first}  {MINE}  chat")
    assert "[red]x" in lines[2] and "queued" in lines[2]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--key", MINE], {0, 2}),
        (["--key", MINE[4:]], {0, 2}),
        (["--status", "cancelled"], {1}),
        (["--key", MINE, "--status", "cancelled"], set()),
        (["--limit", "2"], {1, 2}),
        ([], {0, 1, 2}),
    ],
)
def test_list_is_narrowed(store, options, wanted):
    ids = [add(store, key) for key in (MINE, YOURS, MINE)]
    store.cancel(YOURS, ids[1])
    rows = json.loads(run("list", "--json", *options).stdout)
    assert {row["id"] for row in rows} == {ids[n] for n in wanted}


def test_empty_list_says_so(store):
    done = run("list")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "There are no such jobs.\n"
    assert json.loads(run("list", "--json").stdout) == []


@pytest.mark.parametrize("key", ["\udcff", "", "nonsense", MINE + "0", f"key_{MINE}"])
def test_list_of_what_can_be_no_key_is_told_in_a_sentence(store, key):
    add(store)
    done = run("list", "--key", key)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("There is no key ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("options", [["--limit", "0"], ["--status", "done"]])
def test_wrong_option_is_refused(store, options):
    assert run("list", *options).exit_code == 2


def test_job_is_shown_without_what_was_said(store):
    add(store, metadata={"a": "b"})
    id = complete(store)

    lines = dict(line.split(maxsplit=1) for line in run("show", id).stdout.splitlines())
    assert lines["id"] == id and lines["key"] == MINE
    assert (lines["status"], lines["result"], lines["attempts"]) == ("completed", "status 200", "1")
    assert lines["metadata"] == '{"a":"b"}' and lines["usage"] == '{"total_tokens":5}'
    assert lines["created"].endswith(" UTC") and "cancelled" not in lines
    for form in ([], ["--json"]):
        assert SECRET not in run("show", id, *form).output
    job = json.loads(run("show", id, "--json").stdout)
    assert (job["object"], job["result"]) == ("job", {"status_code": 200, "body": None})
    assert SECRET not in run("list", "--json").output


def test_answer_is_shown_when_it_is_asked_for(store):
    add(store)
    id = complete(store)
    assert json.loads(run("show", id, "--answer").stdout) == {"said": SECRET}
    waiting = add(store)
    done = run("show", waiting, "--answer")
    assert (done.exit_code, done.stderr) == (1, f"{waiting} has no answer: it is queued.\n")


def test_error_is_shown(store):
    id = add(store)
    store.cancel(MINE, id)
    assert "cancelled: The job was cancelled." in run("show", id).stdout


def test_queued_job_is_cancelled(store):
    id = add(store)
    assert run("cancel", id).stdout == f"{id} is cancelled.\n"
    assert store.get(MINE, id).status == "cancelled"
    assert run("cancel", id).stdout == f"{id} has ended before: it is cancelled.\n"


def test_running_job_is_flagged_for_its_worker(store):
    id = add(store)
    store.claim("w")
    done = run("cancel", id)
    assert done.stdout == f"{id} is running, and is cancelled within a second or so.\n"
    assert store.beat("w", [id]) == ({id}, {id})


def test_ended_job_is_not_cancelled(store):
    add(store)
    id = complete(store)
    assert run("cancel", id).stdout == f"{id} has ended before: it is completed.\n"


@pytest.mark.parametrize("command", ["show", "cancel"])
@pytest.mark.parametrize("id", [UNKNOWN, "x", ""])
def test_unknown_job_is_told_in_a_sentence(store, command, id):
    done = run(command, id)
    assert done.exit_code == 1
    assert done.stderr == f"There is no job {id}. The command gateway jobs list shows the ids.\n"


def test_cancel_of_a_background_response_ends_its_stream(store):
    background = Background(Stored(store.database, 1), 3600)
    id, payload = "resp_" + "1" * 32, {"model": "m", "input": SECRET, "background": True}
    store.add(
        MINE, "responses", payload, "req_1", True, id, partial(background.begin, payload=payload)
    )
    assert run("cancel", id).exit_code == 0
    assert Stored(store.database, 1).get(MINE, id)["status"] == "cancelled"
    assert b"response.incomplete" in b"".join(Recordings(store.database).reader(id))
