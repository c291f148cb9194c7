"""`gateway doctor` as a whole."""

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from gateway import doctor
from gateway.cli import main
from gateway.doctor import finding
from gateway.doctor.finding import OK, PROBLEM, WARNING, Finding
from tests.doctor.found import levels

SECRET = "sk-very-secret-value"


def test_check_that_fails_is_a_finding_and_stops_no_other():
    def broken(settings):
        yield Finding(OK, "a", "b")
        raise RuntimeError(SECRET)

    modules = [SimpleNamespace(__name__="gateway.doctor.x", check=broken)] * 2
    found = list(doctor.examine(None, modules))
    assert levels(found) == [OK, PROBLEM] * 2 and SECRET not in repr(found)


def test_other_programs_may_be_missing_and_their_words_are_not_ours():
    assert finding.said("no-such-program") is None
    assert finding.said("sh", "-c", "printf '\\377'; exit 3") == (3, "�")


def run(monkeypatch, path, *arguments):
    monkeypatch.setenv("GATEWAY_CONFIG", str(path))
    return CliRunner().invoke(main, ["doctor", *arguments])


@pytest.mark.parametrize(("level", "status"), [(OK, 0), (WARNING, 0), (PROBLEM, 1)])
def test_command_says_a_line_a_finding_and_ends_with_1_on_a_problem(
    settings, monkeypatch, level, status
):
    monkeypatch.setattr(doctor, "examine", lambda settings: [Finding(level, "name", "Why.")])
    done = run(monkeypatch, settings.path)
    assert done.exit_code == status and done.output.split()[1:] == ["name:", "Why."]
    done = run(monkeypatch, settings.path, "--json")
    assert done.exit_code == status
    assert json.loads(done.output) == [{"level": level, "name": "name", "message": "Why."}]


def test_command_tells_mistakes_of_the_configuration(tmp_path, monkeypatch):
    path = tmp_path / "gateway.toml"
    path.write_text("[server]\nbnd = 1\n")
    done = run(monkeypatch, path, "--json")
    (found,) = json.loads(done.output)
    assert done.exit_code == 1 and (found["level"], found["name"]) == (PROBLEM, "configuration")
    assert "bind" in found["message"]
