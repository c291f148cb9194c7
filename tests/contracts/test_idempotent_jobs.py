"""What a job and the answer that accepts it promise under an Idempotency-Key, over every database:
neither is ever there without the other.
"""

import os
import signal
import time

import pytest
import sqlalchemy as sa

from gateway import config, create_app, errors
from gateway.database import upgrade
from gateway.endpoints.jobs import accepted
from gateway.recordings.writer import ROW
from gateway.tables import idempotency as names
from gateway.tables import jobs as table
from gateway.tables import recordings
from tests.contracts.calling import CALL, change, joined, plainly
from tests.serving import KEY, write_config

HEADERS = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": "once"}
LONG = "x" * 2 * ROW  # more than a row of a recording holds
CALLS = {
    "job": ("/v1/embeddings", {"input": "Hi"}, {"Prefer": "respond-async"}),
    "background": ("/v1/responses", {"input": "Hi", "background": True}, {}),
    "large": ("/v1/responses", {"input": "Hi", "instructions": LONG, "background": True}, {}),
}


def post(app, kind, **more):
    path, body, headers = CALLS[kind]
    body = {"model": "gpt-test", **body, **more}
    return app.test_client().post(path, json=body, headers={**HEADERS, **headers})


def kill(*args):
    os.kill(os.getpid(), signal.SIGKILL)


def then(function, following):
    """Return a function that calls another after it."""

    def both(*args, **values):
        found = function(*args, **values)
        following(*args)
        return found

    return both


def dies_before_its_commit(services):
    services.idempotency.promise = then(services.idempotency.promise, kill)


def dies_after_its_commit(services):
    services.jobs.add = then(services.jobs.add, kill)


def away(*args):
    raise errors.DependencyUnavailable()


class AcceptedContract:
    """Tests of a subclass that names its `dialect`."""

    @pytest.fixture
    def make(self, address, tmp_path, upstream):
        """A function that returns an application of its own."""
        path = write_config(tmp_path, upstream.url)
        environ = {"GATEWAY_API_KEYS": KEY, "GATEWAY_DATABASE_URL": address}
        upgrade(address)
        made = []

        def make():
            made.append(create_app(config.load(environ, path)))
            return made[-1]

        yield make
        for app in made:
            app.extensions["gateway"].close()

    @pytest.mark.parametrize("die", [dies_before_its_commit, dies_after_its_commit])
    @pytest.mark.parametrize("kind", CALLS)
    def test_process_that_dies_leaves_both_or_neither(self, make, kind, die):
        child = os.fork()
        if child == 0:
            try:
                app = make()
                die(app.extensions["gateway"])
                post(app, kind)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

        app = make()
        left = jobs_of(app)
        assert len(left) == (die is dies_after_its_commit)
        change(app.extensions["gateway"], lease_until=sa.case((names.c.owner != "", 1.0)))
        answers = [post(app, kind) for _ in range(2)]
        assert len({answer.data for answer in answers}) == 1
        replayed = [answer.headers.get("idempotent-replayed") for answer in answers]
        assert replayed == ["true" if left else None, "true"]
        found = jobs_of(app)
        assert [answer.json["id"] for answer in answers] == found * 2
        assert left in ([], found)

    @pytest.mark.parametrize("kind", CALLS)
    def test_client_that_hears_of_no_commit_finds_the_job_when_it_asks_again(self, make, kind):
        app = make()
        services = app.extensions["gateway"]
        add = services.jobs.add
        services.jobs.add = then(add, away)
        assert post(app, kind).json["error"]["code"] == "dependency_unavailable"
        services.jobs.add = add
        services.recordings.close()
        answer = post(app, kind)
        assert answer.headers["idempotent-replayed"] == "true"
        assert [answer.json["id"]] == jobs_of(app)
        query = sa.select(sa.func.min(recordings.c.expires_at))
        ends = services.database.read(lambda c: c.scalar(query.where(recordings.c.part == -1)))
        assert ends > time.time() + 23 * 3600

    def test_answer_is_replayed_as_it_was_given(self, make):
        app = make()
        first, again = post(app, "job"), post(app, "job")
        assert first.status_code == again.status_code == 202
        assert first.data == again.data
        for name in ("location", "preference-applied", "openai-poll-after-ms", "content-type"):
            assert first.headers[name] == again.headers[name]
        assert post(app, "job", input="Ho").json["error"]["code"] == "idempotency_key_reused"

    def test_process_that_was_taken_for_dead_adds_no_job(self, make, database):
        services = make().extensions["gateway"]
        mine, jobs = services.idempotency, services.jobs
        row, _ = mine.begin(*CALL)
        change(mine, lease_until=1.0)
        other = make().extensions["gateway"].idempotency
        assert other.begin(*CALL)[1]

        def late(watch, promise):
            jobs.add(
                "mine", "chat", {"model": "m"}, "req_1",
                also=lambda connection, row: promise(connection, accepted(row)),
            )  # fmt: skip

        run = mine.start(row, late, lambda: None)
        with pytest.raises(errors.GatewayError) as found:
            run.live.begun(plainly)
        assert (found.value.code, found.value.retry) == ("worker_lost", True)
        assert jobs.newest(9) == []
        run.thread.join(10)
        mine.recordings.close()
        assert joined(mine, row)[0] == 503
        assert not other.begin(*CALL)[1]


def jobs_of(app):
    query = sa.select(table.c.id)
    return app.extensions["gateway"].database.read(lambda c: list(c.scalars(query)))


class TestSQLite(AcceptedContract):
    dialect = "sqlite"


class TestPostgreSQL(AcceptedContract):
    dialect = "postgresql"
