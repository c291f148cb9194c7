"""Settings come from a file, from the environment alone, or are the built-in default."""

import dataclasses
import pickle
from pathlib import Path

import pytest

from gateway.config import ConfigError, Settings, Target, Timeouts, load

UPSTREAM = '[[upstream]]\nname = "a"\nbase_url = "http://h/v1"\ndiscover = true\n'


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def read(folder):
    def read(text, **environ):
        file = folder / "gateway.toml"
        file.write_text(text)
        return load(environ, file)

    return read


def refusal(environ):
    with pytest.raises(ConfigError) as caught:
        load(environ)
    return str(caught.value).splitlines()


# Where settings come from


def test_a_file_in_the_folder_is_found_and_one_that_is_named_goes_first(folder):
    (folder / "gateway.toml").write_text(UPSTREAM)
    (folder / "other.toml").write_text(UPSTREAM.replace('"a"', '"b"'))
    assert list(load({}).upstreams) == ["a"]
    assert list(load({"GATEWAY_CONFIG": "other.toml"}).upstreams) == ["b"]
    assert list(load({"GATEWAY_CONFIG": "other.toml"}, "gateway.toml").upstreams) == ["a"]
    assert load({}).path == Path("gateway.toml")


def test_a_named_file_that_can_not_be_read_is_a_mistake(folder):
    assert refusal({"GATEWAY_CONFIG": "no.toml"}) == [
        "no.toml: can't be read: No such file or directory"
    ]
    (folder / "gateway.toml").symlink_to("nowhere")
    assert refusal({}) == ["gateway.toml: can't be read: No such file or directory"]


def test_an_upstream_can_come_from_the_environment_alone():
    found = load({"GATEWAY_UPSTREAM_URL": "http://h:1/v1/", "GATEWAY_UPSTREAM_KEY": "${x}"})
    (upstream,) = found.upstreams.values()
    assert (upstream.name, upstream.base_url, upstream.discover) == (
        "upstream",
        "http://h:1/v1",
        True,
    )
    assert upstream.api_key == "${x}"
    assert (found.models, found.local_model, found.path) == ({}, None, None)


def test_mistakes_in_the_environment_name_the_variable_and_never_its_value():
    told = refusal(
        {
            "GATEWAY_UPSTREAM_KEY": "sk-secret 1",
            "GATEWAY_BIND": "secret",
            "GATEWAY_OPS_BIND": "secret:0",
            "GATEWAY_DATABASE_URL": "mysql://u:secret@h",
            "GATEWAY_REDIS_URL": "http://:secret@h",
            "GATEWAY_API_KEYS": "sk-secret 2,,ok,é",
        }
    )
    assert [line.split(":")[0] for line in told] == [
        "GATEWAY_BIND",
        "GATEWAY_OPS_BIND",
        "GATEWAY_DATABASE_URL",
        "GATEWAY_REDIS_URL",
        "GATEWAY_UPSTREAM_URL",
        "GATEWAY_UPSTREAM_KEY",
        *["GATEWAY_API_KEYS"] * 3,
    ]
    assert "GATEWAY_UPSTREAM_URL: is missing" in told
    assert "GATEWAY_API_KEYS: entry 2 of 4 is empty" in told
    assert "secret" not in "".join(told)


def test_the_environment_overrides_the_file_even_where_the_file_is_wrong(read):
    found = read(
        UPSTREAM + "[server]\nbind = 1\ndatabase_url = '${UNSET}'\nredis_url = 'redis://a'",
        GATEWAY_BIND="0.0.0.0:80",
        GATEWAY_OPS_BIND="unix:/run/ops.sock",
        GATEWAY_DATABASE_URL="postgresql+psycopg://u:${p@h/d",
        GATEWAY_REDIS_URL="",
        GATEWAY_UPSTREAM_URL="not read",
        GATEWAY_LOCAL_MODEL="not read",
    )
    assert (found.server.bind, found.server.ops_bind) == ("0.0.0.0:80", "unix:/run/ops.sock")
    assert found.server.database_url == "postgresql+psycopg://u:${p@h/d"
    assert found.server.redis_url == "redis://a"


def test_fixed_keys_come_from_the_environment():
    assert load({"GATEWAY_API_KEYS": "sk-a,sk-b"}).api_keys == ("sk-a", "sk-b")
    assert load({"GATEWAY_API_KEYS": ""}).api_keys == ()


@pytest.mark.parametrize("given, count", [("1", 1), ("256", 256), ("", None)])
def test_number_of_workers_comes_from_the_environment(given, count):
    assert load({"WEB_CONCURRENCY": given}).workers == count


# The local model


def test_with_nothing_configured_there_is_the_local_model():
    found = load({})
    assert found.local_model.path is None
    assert (found.upstreams, found.models) == ({}, {})
    assert found == dataclasses.replace(
        Settings(), server=found.server, state=found.state, local_model=found.local_model
    )


def test_the_local_model_is_two_upstreams_once_its_addresses_are_known():
    urls = "http://127.0.0.1:5001/v1", "http://127.0.0.1:5002/v1"
    names = "GATEWAY_LOCAL_CHAT_URL", "GATEWAY_LOCAL_EMBED_URL"
    found = load(dict(zip(names, urls, strict=True)))
    assert found == load({}).with_local_model(*urls)
    assert [(u.name, u.base_url, u.endpoints) for u in found.upstreams.values()] == [
        ("local", urls[0], ("chat", "responses")),
        ("local-embed", urls[1], ("embeddings",)),
    ]
    assert {id: model.targets for id, model in found.models.items()} == {
        "smollm2-135m-instruct": (Target("local", "smollm2-135m-instruct"),),
        "smollm2-135m-embed": (Target("local-embed", "smollm2-135m-embed"),),
    }


def test_another_local_model_is_named_after_its_file(folder):
    (folder / "Big Q4_K.gguf").touch()
    found = load({"GATEWAY_LOCAL_MODEL": "Big Q4_K.gguf"})
    assert found.local_model.path == str(folder / "Big Q4_K.gguf")
    assert list(found.with_local_model("http://a", "http://b").models) == [
        "big q4_k",
        "big q4_k-embed",
    ]


def test_another_local_model_may_be_in_the_home_folder(folder, monkeypatch):
    (folder / "home").mkdir()
    (folder / "home" / "x.gguf").touch()
    monkeypatch.setenv("HOME", str(folder / "home"))
    found = load({"GATEWAY_LOCAL_MODEL": "~/x.gguf"})
    assert found.local_model.path == str(folder / "home" / "x.gguf")


@pytest.mark.parametrize("name", ["no.gguf", ".", "a*.gguf", "é.gguf"])
def test_a_local_model_that_can_not_be_offered_is_a_mistake(folder, name):
    for other in ("a*.gguf", "é.gguf"):
        (folder / other).touch()
    told = refusal({"GATEWAY_LOCAL_MODEL": name, "GATEWAY_BIND": "x"})
    assert [line.split(":")[0] for line in told] == ["GATEWAY_BIND", "GATEWAY_LOCAL_MODEL"]


# References in strings

REFERENCES = [
    ("${A}", "one"),
    ("x${A}y${B}z", "xoney${A}z"),
    ("${EMPTY}", ""),
    ("$${A}", "${A}"),
    ("$A$$", "$A$$"),
    ("${file:key}", "from-file"),
    ("${file:@/key}", "from-file"),
]


@pytest.mark.parametrize("text, expected", REFERENCES)
def test_references_are_filled_in_once(read, folder, text, expected):
    (folder / "key").write_text("from-file\r\n")
    text = text.replace("@", str(folder))
    found = read(f'{UPSTREAM}api_key = "{text}"', A="one", B="${A}", EMPTY="")
    assert found.upstreams["a"].api_key == expected


BAD_REFERENCES = [
    ("${NO}", "the environment variable NO is not set"),
    ("${}", "a ${…} in it is neither ${NAME} nor ${file:/path}; a plain ${ is written $${"),
    ("${A:-x}", "a ${…} in it is neither"),
    ("${A", "a ${…} in it is neither"),
    ("${file:no}", "no can't be read: No such file or directory"),
    ("${file:}", "can't be read: Is a directory"),
    ("${file:binary}", "binary is not UTF-8"),
]


@pytest.mark.parametrize("text, expected", BAD_REFERENCES)
def test_a_reference_to_nothing_is_a_mistake_with_its_place(read, folder, text, expected):
    (folder / "binary").write_bytes(b"\xff")
    with pytest.raises(ConfigError) as caught:
        read(f'{UPSTREAM}headers.X = "{text}"', A="secret")
    (mistake,) = caught.value.mistakes
    assert (mistake.line, mistake.key) == (5, "upstream[0].headers.X")
    assert expected in mistake.message and "secret" not in mistake.message


# Values


def test_paths_are_relative_to_the_file(folder):
    (folder / "etc").mkdir()
    (folder / "etc" / "my.toml").write_text(UPSTREAM)
    environ = {"GATEWAY_DATABASE_URL": "sqlite:///b c.db"}
    url = "sqlite:///" + str(folder)
    assert load({}).server.database_url == url + "/var/gateway.db"
    assert load({}, "etc/my.toml").server.database_url == url + "/etc/var/gateway.db"
    assert load(environ, "etc/my.toml").server.database_url == url + "/etc/b c.db"
    absolute = {"GATEWAY_DATABASE_URL": "sqlite:////x/y.db"}
    assert load(absolute).server.database_url == "sqlite:////x/y.db"


def test_state_is_kept_beside_the_sqlite_file_or_where_systemd_says(folder):
    (folder / "etc").mkdir()
    (folder / "etc" / "my.toml").write_text(UPSTREAM)
    assert load({}, "etc/my.toml").state == folder / "etc" / "var"
    postgres = {"GATEWAY_DATABASE_URL": "postgresql+psycopg://u@h/d"}
    assert load(postgres, "etc/my.toml").state == folder / "etc" / "var"
    told = {**postgres, "STATE_DIRECTORY": "/var/lib/gateway:/other"}
    assert load(told, "etc/my.toml").state == Path("/var/lib/gateway")


def test_an_upstream_overrides_the_timeouts_of_its_calls(read):
    found = read("[timeouts]\nidle = 7\n" + UPSTREAM + "[upstream.timeouts]\nconnect = 0.5")
    assert found.upstreams["a"].timeouts == Timeouts(idle=7, connect=0.5)
    assert found.timeouts == Timeouts(idle=7)


@pytest.mark.parametrize(
    "id, model, expected",
    [
        ("m", "", "m"),
        ("m", "other", "other"),
        ("o/*", "", "*"),
        ("o/*", "one", "one"),
        ("o/*", "x/*", "x/*"),
        ("*", "", "*"),
    ],
)
def test_a_target_knows_the_name_that_its_upstream_uses(read, id, model, expected):
    target = f'{{ name = "a", model = "{model}" }}'
    found = read(f'{UPSTREAM}[[model]]\nid = "{id}"\nupstreams = [{target}]').models[id]
    assert found.targets == (Target("a", expected, weight=1, priority=0),)


def test_a_model_is_not_meant_by_another_id(read):
    found = read(f'{UPSTREAM}[[model]]\nid = "o/*"\nupstreams = [{{ name = "a" }}]').models["o/*"]
    assert [id for id in ("o/x", "o/x/y", "o", "o/", "x/o/y", "o/*x") if found.matches(id)] == [
        "o/x",
        "o/x/y",
        "o/*x",
    ]
    assert not dataclasses.replace(found, id="m").matches("m2")


def test_a_fallback_may_be_matched_by_a_wildcard_or_be_discovered(read):
    model = '[[model]]\nid = "m"\nupstreams = [{ name = "a" }]\nfallbacks = ["o/x"]\n'
    wildcard = '[[model]]\nid = "o/*"\nupstreams = [{ name = "a" }]\n'
    closed = UPSTREAM.replace("true", "false")
    assert read(closed + model + wildcard).models["m"].fallbacks == ("o/x",)
    assert read(UPSTREAM + model).models["m"].fallbacks == ("o/x",)


def test_cached_input_costs_what_input_does_if_left_out(read):
    model = '[[model]]\nid = "m"\nupstreams = [{ name = "a" }]\nprice = { input = 2 }'
    assert dataclasses.astuple(read(UPSTREAM + model).models["m"].price) == (2, 2, 0)


BINDS = [
    ("LocalHost:1", "127.0.0.1:1"),
    ("[0:0::]:65535", "[::]:65535"),
    ("0.0.0.0:0080", "0.0.0.0:80"),
    ("unix:/run/A.sock", "unix:/run/A.sock"),
    ("unix:///run/A.sock", "unix:/run/A.sock"),
]


@pytest.mark.parametrize("bind, expected", BINDS)
def test_each_form_of_address_is_accepted_and_written_as_its_socket_says(read, bind, expected):
    assert read(f'{UPSTREAM}[server]\nbind = "{bind}"').server.bind == expected


def test_no_secret_is_in_the_repr_of_settings(read):
    text = UPSTREAM + (
        'api_key = "hush"\nheaders.X = "hush"\nproxy = "http://u:hush@h/"\n'
        '[server]\ndatabase_url = "postgresql+psycopg://u:hush@h/d"\nredis_url = "redis://:hush@h"'
    )
    found = read(text, GATEWAY_API_KEYS="hush")
    assert "hush" not in repr(found)
    assert found.upstreams["a"].proxy == "http://u:hush@h"
    assert pickle.loads(pickle.dumps(found)) == found
