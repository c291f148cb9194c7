"""A good configuration, and other programs that say what a test wants."""

import pytest

from gateway import config
from gateway.doctor import machine, nginx, systemd
from tests.serving import write_config


@pytest.fixture
def settings(tmp_path):
    path = write_config(tmp_path, "http://127.0.0.1:9/v1", server='bind = "127.0.0.1:8000"')
    return config.load({}, path)


@pytest.fixture
def told(monkeypatch):
    """Return a function that sets what every other program says."""

    def say(answer):
        for module in (nginx, systemd, machine):
            monkeypatch.setattr(module, "said", lambda *command: answer)

    return say
