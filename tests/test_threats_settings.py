"""What stands in the settings is text: nothing in it is run, filled in twice or loaded."""

import pytest

from gateway import config
from gateway.config import ConfigError
from tests.serving import write_config

CODE = [
    "!!python/object/apply:os.system ['id']",
    "{{7+7}}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
    "#{7+7}",
    "$(id)",
    "`id`",
    "%(prog)s %s %n",
    "{0.__class__}",
    "${jndi:ldap://127.0.0.1/x}",
    "__import__('os').system('id')",
    "os:system",
]
MODEL = """
[[model]]
id = '''{text}'''
upstreams = [{{ name = "mock", model = '''{text}''' }}]
"""


@pytest.fixture
def load(tmp_path):
    """Return a function that loads settings in which a model has this id and this name upstream."""

    def make(text, **environ):
        path = write_config(tmp_path, "http://127.0.0.1:1/v1", more=MODEL.format(text=text))
        return config.load(environ, path)

    return make


def loaded(settings):
    """Return the id and the name of the model that was added."""
    (model,) = [found for id, found in settings.models.items() if id not in ("gpt-test", "mock-*")]
    return model.id, model.targets[0].model


@pytest.mark.parametrize("text", CODE)
def test_code_in_the_settings_stays_text_or_is_refused(load, text):
    try:
        found = loaded(load(text))
    except ConfigError as error:
        assert "uid=" not in str(error)
        assert text.startswith("${")  # what looks like a variable and is none
    else:
        assert found == (text, text)


@pytest.mark.parametrize("text", CODE)
def test_what_a_variable_holds_is_not_looked_into(load, text):
    assert loaded(load("a-${GIVEN}", GIVEN=text)) == (f"a-{text}", f"a-{text}")


def test_variable_names_no_other_variable_and_no_file(load, tmp_path):
    (tmp_path / "secret").write_text("the secret")
    for text in ("${OTHER}", "${file:secret}", f"${{file:{tmp_path}/secret}}"):
        found = loaded(load("a-${GIVEN}", GIVEN=text, OTHER="the secret"))
        assert found == (f"a-{text}",) * 2


def test_variable_that_is_not_set_is_refused_and_two_dollars_are_one(load):
    with pytest.raises(ConfigError):
        load("${NOT_SET}")
    assert loaded(load("$${NOT_SET}"))[0] == "${NOT_SET}"


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['id']\n",
        "--- !!python/object:os.system\nbind: x\n",
        "server: &a [*a]\n",
        "cos\nsystem\n(S'id'\ntR.",
        "import os\n",
        '{"server": {"bind": "127.0.0.1:1"}}',
        "<server/>",
        "[server]\nbind = !!python/none\n",
        "[server]\nbind = {{ 7+7 }}\n",
        "[server]\nplugins = ['os.system']\n",
        "[server]\nbind = '127.0.0.1:1'\n[callbacks]\nsuccess = 'os.system'\n",
    ],
)
def test_what_is_no_toml_or_names_code_is_refused(tmp_path, text):
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        config.load({}, path)


def test_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"\x80\x04\x95\x1d\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.")
    with pytest.raises(ConfigError):
        config.load({}, path)
