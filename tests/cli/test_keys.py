import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import COMMANDS, main
from gateway.cli.key_options import MOST_USD
from gateway.database import Database
from gateway.errors import InvalidKey
from gateway.keys import KeyStore
from gateway.limits.stores import LARGEST
from gateway.prices import NANO

ROOT = Path(__file__).parents[2]
FIELDS = [
    "id", "name", "state", "created_at", "expires_at", "revoked_at", "old_until", "models",
    "endpoints", "rpm", "tpm", "concurrency", "budget", "period", "metadata",
]  # fmt: skip
ALL = [
    "--models", "a, b/*,a", "--endpoints", "chat,embeddings", "--rpm", "60", "--tpm", "1000",
    "--concurrency", "4", "--budget", "12.345678901/week", "--expires", "30d",
    "--metadata", "team=a=b", "--metadata", "note=[red]",
]  # fmt: skip


@pytest.fixture
def id(url):
    """The public id of a key with every bound."""
    return f"key_{run('keys', 'create', 'mine', *ALL).stdout[3:15]}"


def shown(id):
    return json.loads(run("keys", "show", id, "--json").stdout)


def run(*arguments):
    return CliRunner().invoke(main, arguments, prog_name="gateway", catch_exceptions=False)


def test_key_stands_alone_on_standard_output_and_works(url):
    done = run("keys", "create", "mine")

    assert done.exit_code == 0
    assert re.fullmatch("sk-[0-9A-Za-z]{12}-[0-9A-Za-z]{43}\n", done.stdout)
    database = Database(url)
    assert KeyStore(database).verify(done.stdout.strip()).name == "mine"
    database.close()


def test_hint_on_standard_error_does_not_repeat_the_key(url):
    done = run("keys", "create", "mine")

    assert f"key_{done.stdout[3:15]} is ready" in done.stderr
    assert done.stdout[16:].strip() not in done.stderr


def test_list_shows_whole_ids_and_names_as_they_were_given(url):
    names = ["[red]alert[/red]", "é" * 100]
    ids = [f"key_{run('keys', 'create', name).stdout[3:15]}" for name in names]

    lines = run("keys", "list").stdout.splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [[ids[0], names[0]], [ids[1], names[1]]]


def test_list_as_json_is_for_programs(url):
    run("keys", "create", "é")

    (found,) = json.loads(run("keys", "list", "--json").stdout)
    assert list(found) == FIELDS
    assert (found["name"], found["state"], found["revoked_at"]) == ("é", "active", None)


def test_empty_list_says_what_to_do(url):
    done = run("keys", "list")

    assert (done.exit_code, done.stdout) == (0, "")
    assert "gateway keys create NAME" in done.stderr
    assert run("keys", "list", "--json").stdout == "[]\n"


def test_revoke_says_what_it_did(url):
    id = f"key_{run('keys', 'create', 'mine').stdout[3:15]}"

    assert run("keys", "revoke", id).stdout == f"{id} (mine) is revoked.\n"
    again = run("keys", "revoke", id)
    assert again.exit_code == 0 and again.stdout.startswith(f"{id} (mine) was revoked before, at ")
    line = run("keys", "list").stdout.splitlines()[1]
    assert line.count("UTC") == 2 and "revoked" in line


@pytest.mark.parametrize("id", ["key_000000000000", "nonsense", "\udcff"])
def test_revoking_an_unknown_id_fails_with_a_sentence(url, id):
    done = run("keys", "revoke", id)

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("There is no key ")


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb"])
def test_wrong_name_is_a_usage_error(url, name):
    done = run("keys", "create", name)

    assert (done.exit_code, done.stdout) == (2, "")
    assert "1 to 100 printable characters" in done.stderr


def test_every_option_is_kept_exactly(id):
    found = shown(id)

    assert list(found) == FIELDS
    left = found.pop("expires_at") - found.pop("created_at")
    assert abs(left - 30 * 86400) < 60
    assert found == {
        "id": id, "name": "mine", "state": "active", "revoked_at": None, "old_until": None,
        "models": ["a", "b/*"], "endpoints": ["chat", "embeddings"], "rpm": 60, "tpm": 1000,
        "concurrency": 4, "budget": 12.345678901, "period": "week",
        "metadata": {"team": "a=b", "note": "[red]"},
    }  # fmt: skip


def test_amounts_become_nano_usd_without_a_float(url):
    for amount, nano in [("0.1", 10**8), ("4.35", 4_350_000_000), ("0.000000001", 1),
                         ("9007198.999999999", 9007199 * 10**9 - 1),
                         ("9007199", 9007199 * 10**9)]:  # fmt: skip
        id = run("keys", "create", "x", "--budget", amount).stdout[3:15]
        database = Database(url)
        key = KeyStore(database).get(id)
        database.close()
        assert (key.budget, key.period) == (nano, "total")


def test_show_says_all_of_it_and_never_the_secret(id):
    done = run("keys", "show", id)

    assert done.exit_code == 0 and "sk-" not in done.stdout
    lines = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    told = {label.strip(): value.strip() for label, value in lines.items()}
    assert told.pop("created").endswith("UTC") and told.pop("expires").endswith("UTC")
    assert told == {
        "id": id, "name": "mine", "state": "active", "models": "a, b/*",
        "endpoints": "chat, embeddings",
        "limits": "60 rpm, 1,000 tpm, 4 at once, 12.345678901 USD a week",
        "metadata": "team=a=b, note=[red]",
    }  # fmt: skip


def test_key_without_bounds_is_shown_as_one(url):
    id = run("keys", "create", "mine").stdout[3:15]
    told = run("keys", "show", id).stdout

    for line in ("models      all", "endpoints   all", "limits      none", "expires     never"):
        assert line in told.splitlines()


def test_list_has_models_and_limits(id):
    (line,) = run("keys", "list").stdout.splitlines()[1:]
    for told in ("active", "a, b/*; only chat, embeddings", "60 rpm", "12.345678901 USD a week"):
        assert told in line


def test_update_changes_what_is_given_alone(id):
    before = shown(id)
    done = run("keys", "update", id, "--rpm", "7", "--budget", "3/day", "--name", "yours")

    assert done.exit_code == 0 and "7 rpm" in done.stdout
    assert shown(id) == {**before, "rpm": 7, "budget": 3, "period": "day", "name": "yours"}


@pytest.mark.parametrize("nothing", ["none", "", "NONE"])
@pytest.mark.parametrize(
    ("option", "fields"),
    [
        ("models", {"models": None}),
        ("endpoints", {"endpoints": None}),
        ("rpm", {"rpm": None}),
        ("tpm", {"tpm": None}),
        ("concurrency", {"concurrency": None}),
        ("budget", {"budget": None, "period": None}),
        ("expires", {"expires_at": None}),
        ("metadata", {"metadata": {}}),
    ],
)
def test_none_or_nothing_takes_a_bound_away(id, option, fields, nothing):
    before = shown(id)

    assert run("keys", "update", id, f"--{option}", nothing).exit_code == 0
    assert shown(id) == {**before, **fields}
    assert run("keys", "create", "plain", f"--{option}", nothing).exit_code == 0


def test_largest_budget_is_the_last_that_limits_can_count():
    assert MOST_USD * NANO <= LARGEST < (MOST_USD + 1) * NANO


def test_larger_budget_of_an_old_key_stays_through_other_changes(url, id):
    database = Database(url)
    KeyStore(database).update(id, budget=10**18)
    database.close()
    assert run("keys", "update", id, "--rpm", "7").exit_code == 0
    assert (shown(id)["rpm"], shown(id)["budget"]) == (7, 10**9)


def test_metadata_is_set_and_taken_away_pair_by_pair(id):
    run("keys", "update", id, "--metadata", "team=", "--metadata", "new=1")
    assert shown(id)["metadata"] == {"note": "[red]", "new": "1"}


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--rpm", "0", "'0' is no whole number from 1 to 1,000,000,000."),
        ("--rpm", "1.5", "no whole number"),
        ("--tpm", "-1", "no whole number"),
        ("--tpm", "1000000001", "no whole number"),
        ("--concurrency", "many", "no whole number"),
        ("--concurrency", "\u0663", "no whole number"),
        ("--budget", "0", "no amount in USD"),
        ("--budget", "1e3", "no amount in USD"),
        ("--budget", "-5", "no amount in USD"),
        ("--budget", "$5", "no amount in USD"),
        ("--budget", "nan/day", "no amount in USD"),
        ("--budget", "0.0000000001", "at most 9 decimals"),
        ("--budget", "9007200", "above 0 and up to 9,007,199, with"),
        ("--budget", "5/year", "'year' is no period: day, week, month, total."),
        ("--budget", "5/", "no period"),
        ("--expires", "30", "'30' is no duration such as 30d, 12h, 45m or 90s."),
        ("--expires", "0d", "no duration"),
        ("--expires", "-1d", "no duration"),
        ("--expires", "1.5h", "no duration"),
        ("--expires", "999999d", "no duration"),
        ("--models", "a,,b", "'': must be 1 to 256"),
        ("--models", "a*b", 'may hold a "*" only at its end.'),
        ("--models", "x" * 257, "must be 1 to 256"),
        ("--endpoints", "chatt", 'unknown endpoint, did you mean "chat"'),
        ("--endpoints", "models", "unknown endpoint"),
        ("--metadata", "team", "'team' is no name=value."),
        ("--metadata", "=x", "no name=value"),
        ("--metadata", "n=" + "x" * 513, "at most 512"),
        ("--metadata", "n" * 65 + "=x", "1 to 64"),
    ],
)
def test_bad_value_is_a_sentence_and_a_usage_error(id, option, value, says):
    for command in (["create", "other"], ["update", id]):
        done = run("keys", *command, option, value)

        assert (done.exit_code, done.stdout) == (2, "")
        assert says in done.stderr and "Traceback" not in done.stderr
    assert len(run("keys", "list").stdout.splitlines()) == 2


def test_too_many_pairs_are_a_usage_error(url):
    pairs = [f"--metadata={n}=x" for n in range(17)]
    done = run("keys", "create", "mine", *pairs)
    assert done.exit_code == 2 and "at most 16 pairs, not 17" in done.stderr


def test_none_beside_other_metadata_is_a_usage_error(id):
    done = run("keys", "update", id, "--metadata", "none", "--metadata", "a=b")
    assert done.exit_code == 2 and "none stands alone" in done.stderr


def test_update_without_an_option_is_a_usage_error(id):
    done = run("keys", "update", id)
    assert done.exit_code == 2 and "nothing to change" in done.stderr


def test_rotate_prints_the_new_key_alone_and_the_id_stays(id, url):
    before = shown(id)
    done = run("keys", "rotate", id, "--grace", "24h")

    assert re.fullmatch(f"sk-{id[4:]}-[0-9A-Za-z]{{43}}\n", done.stdout)
    assert "works until" in done.stderr and done.stdout[16:].strip() not in done.stderr
    after = shown(id)
    assert abs(after["old_until"] - time.time() - 86400) < 60
    assert {**after, "old_until": None} == before
    assert "old secret  until" in run("keys", "show", id).stdout
    database = Database(url)
    assert KeyStore(database).verify(done.stdout.strip()).id == id
    database.close()


def test_without_a_grace_the_old_secret_ends_at_once(url):
    old = run("keys", "create", "mine").stdout.strip()
    done = run("keys", "rotate", f"key_{old[3:15]}")

    assert "stops working within seconds" in done.stderr
    database = Database(url)
    with pytest.raises(InvalidKey):
        KeyStore(database).verify(old)
    database.close()


@pytest.mark.parametrize("grace", ["1", "-1h", "soon", ""])
def test_bad_grace_is_a_usage_error(id, grace):
    done = run("keys", "rotate", id, "--grace", grace)
    assert (done.exit_code, done.stdout) == (2, "") and "no duration" in done.stderr


COMMANDS_BY_ID = [["show"], ["update", "--rpm", "1"], ["rotate"], ["revoke"]]


@pytest.mark.parametrize("command", COMMANDS_BY_ID, ids=lambda command: command[0])
@pytest.mark.parametrize("unknown", ["key_000000000000", "nonsense", "\udcff"])
def test_unknown_id_is_a_sentence_and_exit_1(url, command, unknown):
    done = run("keys", command[0], unknown, *command[1:])

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("There is no key ")


@pytest.mark.parametrize("command", COMMANDS_BY_ID[1:3], ids=lambda command: command[0])
def test_revoked_key_is_not_changed_again(id, command):
    run("keys", "revoke", id)
    before = shown(id)
    done = run("keys", command[0], id, *command[1:])

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{id} (mine) is revoked")
    assert shown(id) == before and before["state"] == "revoked"


CONFIG = """
[[upstream]]
name = "up"
base_url = "http://127.0.0.1:1"
discover = {discover}

[[model]]
id = "exact/a"
upstreams = [{{ name = "up" }}]

[[model]]
id = "wild/*"
upstreams = [{{ name = "up" }}]
"""


@pytest.mark.parametrize(
    ("models", "unmatched"),
    [
        ("exact/a,exact/*,*,wild/x,wild/x*,wild/*,w*", []),
        ("exact,exact/b,wild/,wilder", ["exact", "exact/b", "wild/", "wilder"]),
        ("none", []),
    ],
)
@pytest.mark.parametrize("discover", ["false", "true"])
def test_model_that_nothing_matches_is_a_warning_and_no_failure(
    url, tmp_path, models, unmatched, discover
):
    (tmp_path / "gateway.toml").write_text(CONFIG.format(discover=discover))
    done = run("keys", "create", "mine", "--models", models)
    again = run("keys", "update", done.stdout[3:15], "--models", models)

    assert (done.exit_code, again.exit_code) == (0, 0) and done.stdout.count("\n") == 1
    for output in (done.stderr, again.stderr):
        warned = [line for line in output.splitlines() if line.startswith("No model")]
        assert [line.split(" matches ")[1].split()[0] for line in warned] == unmatched
        assert all(("may list it" in line) == (discover == "true") for line in warned)


def test_local_model_is_known_without_a_configuration(url):
    done = run("keys", "create", "mine", "--models", "smollm2-135m-instruct,gpt")
    assert "matches gpt now" in done.stderr and "matches smollm2" not in done.stderr


def test_help_imports_no_command():
    script = (
        "import sys; from gateway.cli import main; main(['--help'], standalone_mode=False);"
        "print(sorted(sys.modules.keys() & {'sqlalchemy', 'flask', 'rich', 'gateway.cli.keys'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)

    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_the_help_is_there(name):
    assert main.get_command(None, name).name == name
