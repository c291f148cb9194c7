import json
import os
from dataclasses import replace

import pytest

from gateway import metric_files, reloading
from gateway.config import LocalModel, Server, Settings
from gateway.reloading import BUILD, UPGRADE, Refused, prepare, rehearse

BEFORE = Settings(server=Server(database_url="sqlite:////one.db"))


def moved():
    pass


@pytest.fixture
def tried(monkeypatch):
    """What is rehearsed; nothing of it fails."""
    found = []
    monkeypatch.setattr(reloading, "rehearse", found.append)
    return found


def test_database_is_brought_up_to_date_only_where_it_is_another_one(tried):
    prepare(BEFORE, BEFORE, moved)
    assert tried == [BUILD]
    prepare(BEFORE, Settings(server=Server(database_url="sqlite:////two.db")), moved)
    assert tried == [BUILD, BUILD, UPGRADE]


def test_nothing_is_moved_before_all_else_is_known_to_work(monkeypatch):
    def fail(arguments):
        raise Refused("no")

    monkeypatch.setattr(reloading, "rehearse", fail)
    with pytest.raises(Refused):
        prepare(BEFORE, BEFORE, lambda: pytest.fail("moved"))


def test_address_that_is_not_to_be_had_is_a_sentence(tried):
    def move():
        raise OSError(98, "Address already in use", "127.0.0.1:8000")

    with pytest.raises(Refused) as caught:
        prepare(BEFORE, BEFORE, move)
    told = "The gateway cannot listen on 127.0.0.1:8000: Address already in use."
    assert str(caught.value) == told


def test_configuration_that_has_gone_does_not_become_a_local_model_without_a_server(tried):
    gone = replace(BEFORE, local_model=LocalModel())
    with pytest.raises(Refused, match="no file any more"):
        prepare(BEFORE, gone, moved)
    prepare(BEFORE, gone.with_local_model("http://127.0.0.1:1", "http://127.0.0.1:2"), moved)


def test_last_line_of_what_fails_says_why():
    with pytest.raises(Refused) as caught:
        rehearse(("-c", "import sys; sys.exit('first\\nthe reason\\n\\n')"))
    assert str(caught.value) == "the reason"
    with pytest.raises(Refused, match="exit code 3"):
        rehearse(("-c", "raise SystemExit(3)"))


def test_what_takes_too_long_is_ended_and_refused(monkeypatch):
    monkeypatch.setattr(reloading, "LONGEST", 0.2)
    with pytest.raises(Refused, match="more than 0.2 seconds"):
        rehearse(("-c", "import time; time.sleep(60)"))


def test_what_is_tried_counts_nothing_and_has_the_rest_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv(metric_files.FOLDER, str(tmp_path))
    out = tmp_path / "environ"
    rehearse(
        ("-c", f"import json, os; open({str(out)!r}, 'w').write(json.dumps(dict(os.environ)))")
    )
    found = json.loads(out.read_text())
    assert metric_files.FOLDER not in found
    assert {**found, metric_files.FOLDER: str(tmp_path)}.items() >= os.environ.items()
