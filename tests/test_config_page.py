"""The example file and the page about the configuration know every setting, as it really is."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from gateway.config import Server, Settings, Timeouts, load
from gateway.config.shape import Overrides, Table, Tables, keys

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "deploy" / "gateway.example.toml"
PAGE = (ROOT / "docs" / "configuration.md").read_text()


def tables(shape=Settings, section=()):
    """Yield each table's name, path of keys, and fields by key."""
    yield section, keys(shape)
    for key, part in keys(shape).items():
        check = part.metadata["check"]
        if isinstance(check, (Table, Tables)) and not isinstance(check, Overrides):
            yield from tables(check.shape, (*section, key))


SETTINGS = [(section, key, part) for section, found in tables() for key, part in found.items()]
HEADINGS = {
    ("model", "upstreams"): "Each entry of `upstreams`",
    ("model", "price"): "`price`, in USD",
    ("upstream",): "## `[[upstream]]`",
    ("model",): "## `[[model]]`",
}


@pytest.mark.parametrize("section, key, part", [s for s in SETTINGS if s[0]])
def test_every_setting_is_documented_with_its_default(section, key, part):
    _, _, rest = PAGE.partition(HEADINGS.get(section, f"## `[{'.'.join(section)}]`"))
    table = re.search(r"(\|.*\n)+", rest)[0]
    default = re.search(rf"^\| `{key}` \| (.*?) \|", table, re.MULTILINE)[1]
    if part.default is None or part.default_factory is Timeouts:
        assert default in ("none", "`{}`")
    elif dataclasses.MISSING is part.default is part.default_factory:
        assert default == "required"
    else:
        value = part.default_factory() if part.default is dataclasses.MISSING else part.default
        written = tomllib.loads(f"x = {default.strip('`')}")["x"]
        assert written == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize("section, key", [(section, key) for section, key, _ in SETTINGS])
def test_every_setting_is_in_the_example(section, key):
    found = [tomllib.loads(EXAMPLE.read_text())]
    for step in section:
        found = [inner for one in found if step in one for inner in listed(one[step])]
    assert any(key in one for one in found)


def listed(value):
    return value if isinstance(value, list) else [value]


def test_the_example_is_understood_and_its_common_settings_are_the_defaults():
    found, plain = load({"OPENAI_API_KEY": "k"}, EXAMPLE), Settings()
    for name in ("server", "timeouts", "retry", "jobs", "usage", "responses"):
        common = getattr(found, name)
        if name == "server":
            common = dataclasses.replace(common, database_url=Server.database_url)
        assert common == getattr(plain, name)


def test_the_examples_of_the_documentation_are_understood(tmp_path):
    (tmp_path / "secret").write_text("s3cret\n")
    file = tmp_path / "gateway.toml"
    blocks = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        file.write_text(re.sub(r"/run/secrets/\w+", str(tmp_path / "secret"), block))
        assert load({"EAST_KEY": "e", "WEST_KEY": "w", "SPARE_KEY": "s"}, file).upstreams


def test_every_variable_is_documented():
    sources = "".join(file.read_text() for file in (ROOT / "gateway" / "config").glob("*.py"))
    for name in set(re.findall(r"GATEWAY_[A-Z_]+", sources)) - {
        # What gunicorn's master tells its workers is no setting.
        "GATEWAY_LOCAL_CHAT_URL",
        "GATEWAY_LOCAL_EMBED_URL",
    }:
        assert f"| `{name}` |" in PAGE
