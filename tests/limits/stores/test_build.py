"""Which store the settings ask for."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.shape import Server, Settings
from gateway.engines import SetupError
from gateway.limits import stores
from gateway.limits.stores.fallback import Fallback
from gateway.limits.stores.local import Local
from tests.serving import write_config

ROOT = Path(__file__).parents[3]
SHARED = Server(redis_url="redis://127.0.0.1:1/0")


def test_store_is_local_without_redis(tmp_path):
    store = stores.build(Settings(state=tmp_path))
    assert type(store) is Local and not store.alone
    assert list(tmp_path.iterdir()) == []


def test_store_is_shared_with_a_way_out_with_redis(tmp_path):
    pytest.importorskip("redis")
    store = stores.build(replace(Settings(state=tmp_path), server=SHARED))
    assert type(store) is Fallback


def test_redis_is_imported_only_where_it_is_used(tmp_path):
    script = """
import sys
from pathlib import Path
from gateway.config.shape import Settings
from gateway.limits import stores
stores.build(Settings(state=Path(sys.argv[1]))).hit("tpm:x", 1, 60)
assert "redis" not in sys.modules
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT).returncode == 0


def test_missing_package_is_a_sentence_that_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(stores.importlib.util, "find_spec", lambda name: None)
    for way in (stores.check, stores.build):
        with pytest.raises(SetupError, match=r"\[redis\]"):
            way(replace(Settings(state=tmp_path), server=SHARED))
        way(Settings(state=tmp_path))


def test_start_without_the_package_ends_in_that_sentence(tmp_path):
    server = 'redis_url = "redis://127.0.0.1:1/0"\n'
    path = write_config(tmp_path, "http://127.0.0.1:1/v1", server=server)
    script = """
import importlib.util, sys
importlib.util.find_spec = lambda name: None
sys.argv = ["gateway", "db", "upgrade"]
from gateway.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "GATEWAY_CONFIG": str(path)},
    )  # fmt: skip
    assert done.returncode == 1 and "[redis]" in done.stderr and "Traceback" not in done.stderr
