"""Folders, file systems, descriptors, clock and versions."""

import pathlib
import resource
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from gateway import config
from gateway.doctor import machine
from gateway.doctor.finding import OK, PROBLEM, WARNING
from tests.doctor.found import levels, worst


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/data/x/y", "nfs4"), ("/data2", "ext4"), ("/", "ext4"), ("/with space/a", "tmpfs")],
)
def test_file_system_is_that_of_the_longest_mount(tmp_path, monkeypatch, path, kind):
    mounts = tmp_path / "mounts"
    lines = ["d / ext4 rw 0 0", "h:/ /data nfs4 rw 0 0", "t /with\\040space tmpfs rw 0 0"]
    mounts.write_text("\n".join(lines))
    monkeypatch.setattr(machine, "nearest", pathlib.Path)
    assert machine.file_system(path, str(mounts)) == kind


@pytest.mark.parametrize(
    ("kind", "level"), [("ext4", OK), ("nfs", PROBLEM), ("fuse.sshfs", PROBLEM), ("unknown", OK)]
)
def test_remote_file_system_is_a_problem(monkeypatch, tmp_path, kind, level):
    monkeypatch.setattr(machine, "file_system", lambda path: kind)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**40))
    assert levels(machine.places("state", tmp_path)) == [level, OK]


@pytest.mark.parametrize(("free", "level"), [(2**31, OK), (2**29, WARNING), (2**20, PROBLEM)])
def test_full_disk_is_told_before_it_is_full(monkeypatch, tmp_path, free, level):
    monkeypatch.setattr(machine, "file_system", lambda path: "ext4")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert levels(machine.places("state", tmp_path)) == [OK, level]


def test_folder_of_others_and_one_that_is_open_to_them_are_told(settings, monkeypatch):
    settings.state.mkdir(exist_ok=True)
    settings.state.chmod(0o755)
    assert "chmod 700" in worst(machine.folder(settings))["state"][1]
    settings.state.chmod(0o700)
    assert worst(machine.folder(settings)) == {}
    monkeypatch.setattr(machine.os, "access", lambda *asked: False)
    assert worst(machine.folder(settings))["state"][0] == PROBLEM


def test_configuration_that_everybody_may_read_is_told(settings):
    settings.path.chmod(0o644)
    assert machine.configuration(settings).level == WARNING
    settings.path.chmod(0o640)
    assert machine.configuration(settings).level == OK


@pytest.mark.parametrize(
    ("hard", "level"), [(4100, OK), (4099, WARNING), (resource.RLIM_INFINITY, OK)]
)
def test_descriptors_are_two_a_call_and_some_more(settings, monkeypatch, hard, level):
    monkeypatch.setattr(machine.resource, "getrlimit", lambda which: (10, hard))
    assert machine.descriptors(replace(settings, server=config.Server())).level == level


@pytest.mark.parametrize(
    ("clock", "answer", "expected"),
    [
        (time.time, None, [OK]),
        (time.time, (0, "yes\n"), [OK]),
        (time.time, (0, "no\n"), [OK, WARNING]),
        (lambda: 0, None, [PROBLEM]),
    ],
)
def test_clock_that_is_wrong_or_loose_is_told(told, clock, answer, expected):
    told(answer)
    assert levels(machine.clock(clock)) == expected


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["gunicorn==27.0.1"], None),
        (["gunicorn==1.0"], "gunicorn is"),
        (["no-such-library>=1"], "no-such-library is missing"),
        (['no-such-library>=1; extra == "redis"'], None),
    ],
)
def test_library_that_is_not_as_required_is_told(settings, monkeypatch, wanted, found):
    monkeypatch.setattr(machine.metadata, "requires", lambda name: wanted)
    last = list(machine.versions(settings))[-1]
    assert (last.level, found is None or found in last.message) == (PROBLEM if found else OK, True)
