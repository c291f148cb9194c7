"""Each mistake in a configuration is told with its line, its key and, for a name, the nearest."""

import pytest

from gateway.config import ConfigError, load

UPSTREAM = '[[upstream]]\nname = "openai"\nbase_url = "http://h/v1"\n'
DISCOVER = UPSTREAM + "discover = true\n"
MODEL = UPSTREAM + '[[model]]\nid = "gpt-4"\nupstreams = [{ name = "openai" }]\n'


@pytest.fixture
def mistakes(tmp_path):
    def read(text, **environ):
        file = tmp_path / "gateway.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            load(environ, file)
        except ConfigError as error:
            return str(error).replace(f"{file}:", "").splitlines()
        return []

    return read


SERVER = [
    ('bnd = "x"', 'bnd: unknown key, did you mean "bind"?'),
    ('BIND = "x"', 'BIND: unknown key, did you mean "bind"?'),
    ('bind = ":8000"', "bind: the host is not valid; expected"),
    ('bind = "8000"', 'bind: expected "address:port"'),
    ('bind = "::1:8000"', 'bind: expected "address:port"'),
    ('bind = "[::1"', 'bind: expected "address:port"'),
    ('bind = "[::x]:8000"', "bind: the host is not valid"),
    ('bind = "256.0.0.1:8000"', "bind: the host is not valid"),
    ('bind = "h:0"', "bind: the port must be from 1 to 65535"),
    ('bind = "h:65536"', "bind: the port must be from 1 to 65535"),
    ('bind = "h:8000\\n"', 'bind: expected "address:port"'),
    ('bind = ""', 'bind: expected "address:port"'),
    ('bind = "vm-1:8000"', "bind: the host must be an address"),
    ('ops_bind = "gateway.internal:8001"', "ops_bind: the host must be an address"),
    ('bind = "unix:run/x.sock"', "bind: a socket needs an absolute path"),
    ('bind = "unix://run/x.sock"', "bind: a socket needs an absolute path"),
    ('bind = "[::ffff:10.0.0.5]:80"', "bind: the host is an IPv4 address: write it as one"),
    ('ops_bind = "[::FFFF:7f00:1]:80"', "ops_bind: the host is an IPv4 address: write it as"),
    (f'bind = "unix:/{"x" * 107}"', "bind: the path of a socket has at most 107 bytes"),
    ("bind = 8000", "bind: expected a string, but got a whole number"),
    ('bind = "127.0.0.1:8001"', "bind: is the same address as ops_bind"),
    ('bind = "0.0.0.0:8001"', "bind: is the same address as ops_bind"),
    ('ops_bind = "unix:/a"\nbind = "unix:/a"', "ops_bind: is the same address as bind"),
    ('ops_bind = "localhost:8000"', "ops_bind: is the same address as bind"),
    ('database_url = "postgres://h/d"', 'unknown kind of database, did you mean "postgresql+'),
    ('database_url = "mysql://h/d"', "database_url: unknown kind of database (known: sqlite, "),
    ('database_url = ""', "database_url: is no database address"),
    ('database_url = "sqlite://"', "database_url: needs a file"),
    ('database_url = "sqlite:///:memory:"', "database_url: needs a file"),
    ('database_url = "sqlite:///x.db?mode=ro"', "database_url: must be sqlite:///path"),
    ('database_url = "sqlite://x.db"', "database_url: must be sqlite:///path"),
    ('database_url = "postgresql+psycopg://h"', "database_url: names no database"),
    ('database_url = "postgresql+psycopg://h:x/d"', "database_url: is no database address"),
    ('redis_url = "http://h"', "redis_url: must begin with redis:// or rediss://"),
    ('redis_url = "redis://"', "redis_url: has no host"),
    ('redis_url = "redis://h/?db=x"', "redis_url: its option db must be a whole number"),
    ("max_body_mb = 0", "max_body_mb: must be from 1 to 1024, not 0"),
    ("max_body_mb = true", "max_body_mb: expected a whole number, but got a boolean"),
    ("max_in_flight = 1.5", "expected a whole number, but got a number with a fraction"),
    ("drain = -1", "drain: must be from 1 to 604800, not -1"),
    ("drain = 2026-01-01", "drain: expected a whole number, but got a date or time"),
]


@pytest.mark.parametrize("line, expected", SERVER)
def test_each_mistake_in_server_is_told_with_its_line(mistakes, line, expected):
    (told,) = mistakes(f"{DISCOVER}\n[server]\n# first\n{line}\n")
    assert told.startswith("8: server.") and expected in told


OTHERS = [
    ("[timeouts]\nconnect = 0", "7: timeouts.connect: must be more than 0 and at most 604800"),
    ("[timeouts]\nidle = inf", "7: timeouts.idle: must be more than 0 and at most 604800"),
    ("[timeouts]\nidle = 1" + "0" * 400, "7: timeouts.idle: must be more than 0 and at most"),
    ("[timeouts]\nidle = nan", "7: timeouts.idle: must be more than 0 and at most 604800"),
    ('[timeouts]\nbody = "30"', "7: timeouts.body: expected a number, but got a string"),
    ("timeouts = 5", "6: timeouts: expected a table, but got a whole number"),
    ("[retry]\nattempts = -1", "7: retry.attempts: must be from 0 to 100, not -1"),
    ("[retry]\nupstreams = 0", "7: retry.upstreams: must be from 1 to 100, not 0"),
    ("[jobs]\nconcurrency = -1", "7: jobs.concurrency: must be from 0 to 100000, not -1"),
    ("[jobs]\nretention_hours = 0", "7: jobs.retention_hours: must be more than 0"),
    ("[usage]\nretention_day = 1", '7: usage.retention_day: unknown key, did you mean "retention'),
    ("[responses]\nstore = 1", "7: responses.store: expected true or false, but got a whole n"),
    ("[[models]]\nid = 'x'\n[[models]]", '6: models: unknown key, did you mean "model"?'),
    ("zzz.'a\"b' = 1", "6: zzz: unknown key (known: server, timeouts, retry, jobs, usage, resp"),
    ('"s p\\nace" = 1', '6: "s p\\nace": unknown key'),
]


@pytest.mark.parametrize("text, expected", OTHERS)
def test_each_mistake_outside_of_server_is_told_with_its_line(mistakes, text, expected):
    start = "\n" if text.startswith("[") else ""
    told = mistakes(f"{DISCOVER}{start}{text}\n" if start else f"\n\n\n\n\n{text}\n{DISCOVER}")
    assert [line.startswith(expected) for line in told] == [True], told


UPSTREAMS = [
    ('name = "a:b"', "name: must be 1 to 64 letters"),
    ("name = 1", "name: expected a string, but got a whole number"),
    ('base_url = "h/v1"', "base_url: must begin with http:// or https://"),
    ('base_url = "ftp://h/v1"', "base_url: must begin with http:// or https://"),
    ('base_url = ""', "base_url: must begin with http:// or https://"),
    ('base_url = "http:///v1"', "base_url: has no host"),
    ('base_url = "http://-/v1"', "base_url: has no valid host"),
    ('base_url = "http://1.2.3/v1"', "base_url: has no valid host"),
    ('base_url = "http://[::x]/v1"', "base_url: "),
    ('base_url = "http://h:x/v1"', "base_url: is no valid address"),
    ('base_url = "http://h:0/v1"', "base_url: the port must be from 1 to 65535"),
    ('base_url = "http://h:/v1"', "base_url: the port must be from 1 to 65535"),
    ('base_url = "http://h:65536/v1"', "base_url: is no valid address"),
    ('base_url = "http://h/v1?"', 'base_url: must have no "?" and no "#"'),
    ('base_url = "http://h/v1#x"', 'base_url: must have no "?" and no "#"'),
    ('base_url = "http://u:p@h/v1"', "base_url: must hold no user or password: give the key as"),
    ('base_url = "http://h\\n/v1"', "base_url: must be an address in ASCII, without spaces"),
    ('base_url = "http://h/v1/chat/completions/"', "base_url: must end before /chat/completions"),
    ('api_key = "Bearer x"', "api_key: must be printable ASCII without spaces"),
    ('api_key = "x\\n"', "api_key: must be printable ASCII without spaces"),
    ('endpoints = ["chatt"]', 'endpoints[0]: unknown endpoint, did you mean "chat"?'),
    ("endpoints = []", "endpoints: must name at least one of chat, responses, embeddings"),
    ('endpoints = "chat"', "endpoints: expected an array of strings, but got a string"),
    ("stream = 'yes'", "stream: expected true or false, but got a string"),
    ("headers = []", "headers: expected a table of strings, but got an array"),
    ('headers.authorization = "x"', "headers.authorization: this header can't be added: give the"),
    ('headers.Host = "x"', "headers.Host: this header can't be added: it follows from base_url"),
    ('headers.TE = "x"', "headers.TE: this header can't be added: it belongs to a single"),
    ('headers.Accept = "x"', "headers.Accept: this header can't be added: the gateway sets it"),
    ('headers.X = "a\\r\\nb: c"', "headers.X: must not hold line breaks"),
    ('headers.X = "€"', "headers.X: must hold only characters of Latin-1"),
    ('headers.X = " a"', "headers.X: must not begin or end with a space"),
    ("headers.X = 1", "headers.X: expected a string, but got a whole number"),
    ('headers = { "a b" = "x" }', 'headers."a b": is no valid header name'),
    ('headers = { X = "1", x = "2" }', "headers.x: is given twice"),
    ('proxy = "socks5://h"', "proxy: must begin with http:// or https://"),
    ('proxy = "http://h/path"', "proxy: must have no path"),
    ('ca_file = "nowhere.pem"', "ca_file: this file can't be read: No such file"),
    ('ca_file = "gateway.toml"', "ca_file: this file holds no certificate that can be read"),
    ("max_in_flight = -1", "max_in_flight: must be from 0 to 1000000, not -1"),
    ("timeouts = { conect = 1 }", 'timeouts.conect: unknown key, did you mean "connect"?'),
    ("timeouts = { body = 1 }", "timeouts.body: unknown key (known: connect, first_token, idle"),
    ("timeouts.write = 1", "timeouts.write: unknown key"),
    ("timeouts.total = -5", "timeouts.total: must be more than 0"),
    ('bse_url = "x"', 'bse_url: unknown key, did you mean "base_url"?'),
]


@pytest.mark.parametrize("line, expected", UPSTREAMS)
def test_each_mistake_in_an_upstream_is_told_with_its_line(mistakes, line, expected):
    given = ['name = "b"', 'base_url = "http://b"', "discover = true"]
    rest = [other for other in given if other.split()[0] != line.split()[0]]
    (told,) = mistakes("\n".join([UPSTREAM, "[[upstream]]", line, *rest]))
    assert told.startswith(f"6: upstream[1].{expected}")


MODELS = [
    ("", "7: model[1].upstreams: is missing"),
    ("upstreams = []", "9: model[1].upstreams: must name at least one upstream"),
    ("upstreams = ['openai']", "9: model[1].upstreams[0]: expected a table, but got a string"),
    (
        "upstreams = [\n\n{ name = 'opnai' }]",
        "11: model[1].upstreams[0].name: no upstream has this",
    ),
    ("upstreams = [{ name = '' }]", "9: model[1].upstreams[0].name: no upstream has this name"),
    ("upstreams = [{ model = 'x' }]", "9: model[1].upstreams[0].name: is missing"),
    ("[[model.upstreams]]\nname = 'x'", "10: model[1].upstreams[0].name: no upstream has this nam"),
    ("$, weight = -1 }]", "9: model[1].upstreams[0].weight: must be from 0 to 1000000, not -1"),
    ("$, priority = 1.5 }]", "9: model[1].upstreams[0].priority: expected a whole number"),
    ("$, model = 'x*' }]", '9: model[1].upstreams[0].model: may end in "*" only if the id does'),
    ("$, modl = 'x' }]", '9: model[1].upstreams[0].modl: unknown key, did you mean "model"?'),
    ("$ }]\nfallbacks = ['gpt4']", "10: model[1].fallbacks[0]: no model has this id, did you mean"),
    ("$ }]\nfallbacks = [\n'new']", "11: model[1].fallbacks[0]: a model can't fall back to itself"),
    ("$ }]\nfallbacks = ['gpt-4', 'gpt-4']", "10: model[1].fallbacks[1]: is named twice"),
    ("$ }]\nfallbacks = ['x*']", "10: model[1].fallbacks[0]: must be a single model"),
    ("$ }]\nfallbacks = 'gpt-4'", "10: model[1].fallbacks: expected an array of strings"),
    ("$ }]\nprice = { input = -1 }", "10: model[1].price.input: must be from 0 to 1000000"),
    ("$ }]\nprice = { input = 1, ouput = 2 }", "10: model[1].price.ouput: unknown key, did you"),
    ("$ }]\nprice = { output = 2 }", "10: model[1].price.input: is missing"),
    ("$ }]\nprice = 5", "10: model[1].price: expected a table, but got a whole number"),
]


@pytest.mark.parametrize("text, expected", MODELS)
def test_each_mistake_in_a_model_is_told_with_its_line(mistakes, text, expected):
    text = text.replace("$", "upstreams = [{ name = 'openai'")
    (told,) = mistakes(f'{MODEL}[[model]]\nid = "new"\n{text}\n')
    assert told.startswith(expected)


@pytest.mark.parametrize("id", ["", " x", "a*b", "**", "a\\nb", "é", "x" * 257])
def test_an_id_that_could_not_be_asked_for_is_a_mistake(mistakes, id):
    (told,) = mistakes(f'{UPSTREAM}[[model]]\nid = "{id}"\nupstreams = [{{ name = "openai" }}]')
    assert told.startswith("5: model[0].id: ")


WHOLE_FILES = [
    ("", "upstream: is missing: at least one [[upstream]] is needed"),
    ("upstream = []", "1: upstream: is missing: at least one [[upstream]] is needed"),
    (UPSTREAM, "model: is missing: no [[model]], and no upstream has discover = true"),
    (DISCOVER + DISCOVER, "6: upstream[1].name: is taken already, in line 2"),
    (MODEL + MODEL.removeprefix(UPSTREAM), "8: model[1].id: is taken already, in line 5"),
    ("[upstream]\nname = 'x'", "1: upstream: expected an array of tables ([[…]] or [{…}]), but"),
    ("[[upstream]]\nname = 'x'\ndiscover = true", "1: upstream[0].base_url: is missing"),
    ("upstream = [\n{ name = 'x', discover = true }]", "2: upstream[0].base_url: is missing"),
    ("a = 1\n\nb = \n", "3: Invalid value"),
    ("a = 1\na = 2\n", "2: Cannot overwrite a value"),
    ("a = 'x\n", "1: "),
    ("a = [\n\n", "1: Invalid value (at end of document)"),
    (b"a = 1\nb = '\xff'", "2: the file is not UTF-8"),
    ("a = " + "[" * 3000 + "]" * 3000, "arrays and tables are nested too deeply"),
    ("a" + ".a" * 2000 + " = 1", "arrays and tables are nested too deeply"),
    ("a = " + "9" * 5000, "a number is too long"),
]


@pytest.mark.parametrize("text, expected", WHOLE_FILES)
def test_a_file_that_can_not_serve_says_why(mistakes, text, expected):
    (told,) = mistakes(text)
    assert told.strip().startswith(expected)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(mistakes):
    told = mistakes(
        "[timeouts]\nidle = 0\n[server]\nbind = 1\ndrain = ''\n"
        "[[upstream]]\nname = 'a'\nbase_url = ''\n"
        "[[upstream]]\nname = 'b'\nbase_url = '${A}${B}'\n[[model]]\nid = 'x'",
        GATEWAY_API_KEYS="a,,b",
        GATEWAY_REDIS_URL="x",
    )
    places = [line.rpartition(": ")[0].split(": ")[:2] for line in told]
    assert [" ".join(place) for place in places] == [
        "2 timeouts.idle",
        "4 server.bind",
        "5 server.drain",
        "8 upstream[0].base_url",
        "11 upstream[1].base_url",
        "11 upstream[1].base_url",
        "12 model[0].upstreams",
        "GATEWAY_REDIS_URL",
        "GATEWAY_API_KEYS",
    ]


def test_mistakes_can_be_read_one_by_one(tmp_path):
    file = tmp_path / "gateway.toml"
    file.write_text(DISCOVER + "nme = 1\n")
    with pytest.raises(ConfigError) as caught:
        load({}, file)
    (mistake,) = caught.value.mistakes
    assert (mistake.line, mistake.key) == (5, "upstream[0].nme")
    assert mistake.message == 'unknown key, did you mean "name"?'
    assert str(caught.value) == f"{file}:5: upstream[0].nme: {mistake.message}"


@pytest.mark.parametrize("count", ["0", "257", "-1", "abc", "1.5", " 2", "\u0663", "9" * 5000])
def test_number_of_workers_that_none_could_serve_with_is_a_mistake(mistakes, count):
    told = mistakes(DISCOVER, WEB_CONCURRENCY=count)
    assert told == ["WEB_CONCURRENCY: must be a whole number from 1 to 256"]


def test_a_refused_name_is_not_told_again_by_those_that_use_it(mistakes):
    told = mistakes(MODEL.replace('"openai"', '"open ai"'))
    assert len(told) == 1 and told[0].startswith("2: upstream[0].name")


def test_no_message_shows_the_text_of_a_value(mistakes):
    bad = "SECRET \u20ac"
    text = (
        "[server]\nbind = '$'\ndatabase_url = '$'\nredis_url = '$'\n[[upstream]]\nname = '$'\n"
        "base_url = '$'\napi_key = '$'\nendpoints = ['$']\nheaders = { X = '$' }\nproxy = '$'\n"
        "stream = '$'\n[[upstream]]\nname = 'b'\nbase_url = 'http://h/v1'\napi_key = '${$}'\n"
        "[[model]]\nid = '$'\nupstreams = [{ name = '$', model = '$' }]\nfallbacks = ['$']\n"
    )
    told = mistakes(text.replace("'$'", "'${BAD}'").replace("${$}", "${SECRET"), BAD=bad)
    assert len(told) == 14
    assert "SECRET" not in "".join(told)
