"""The machine itself: folders, file systems, descriptors, clock, versions."""

import os
import pathlib
import resource
import shutil
import sys
import time
from importlib import metadata

from packaging.requirements import Requirement

from gateway.doctor.finding import OK, WARNING, Finding, judge, said

GIB = 1024**3
# What locks and shared memory cannot be trusted on, as LMDB and SQLite say themselves.
REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "glusterfs"}
CALL = 2  # descriptors of a call: its client's and its upstream's
OTHERS = 100  # descriptors for all else


def check(settings):
    yield configuration(settings)
    yield from folder(settings)
    yield descriptors(settings)
    yield from clock()
    yield from versions(settings)


def configuration(settings):
    if settings.path is None:
        return Finding(OK, "configuration", "There is no file: the environment and defaults hold.")
    return judge(
        not settings.path.stat().st_mode & 0o007,
        "configuration",
        f"{settings.path} is valid.",
        f"{settings.path} is valid, but every account may read it: chmod o= {settings.path}.",
        WARNING,
    )


def folder(settings):
    """Yield what is found of the folder for this machine's own files."""
    path = settings.state
    if not path.is_dir():
        writable = os.access(nearest(path), os.W_OK)
        fine = f"{path} will be made at the first start."
        yield judge(writable, "state", fine, f"{path} cannot be made by this account.")
    else:
        wrong = (
            f"{path} is not writable for this account: run doctor as the gateway's, or chown it."
        )
        yield judge(os.access(path, os.W_OK | os.X_OK), "state", f"{path} is writable.", wrong)
        if path.stat().st_mode & 0o077:
            open_to = f"{path} is open to other accounts: chmod 700 {path}."
            yield Finding(WARNING, "state", open_to)
    yield from places("state", path)


def places(name, path):
    """Yield what is found of the file system that a path is on."""
    kind = file_system(path)
    yield judge(
        kind not in REMOTE and not kind.startswith("fuse."),
        name,
        f"Its file system is local ({kind}).",
        f"{path} is on {kind}: locks fail there. Put it on a disk of this machine.",
    )
    free = shutil.disk_usage(nearest(path)).free
    told = f"{free / GIB:.1f} GiB are free."
    level = WARNING if free > GIB / 10 else "problem"
    yield judge(free > GIB, name, told, f"Only {told[:-1]} at {path}: make room.", level)


def nearest(path):
    """Return the path, or the first folder above it that there is."""
    path = pathlib.Path(path).absolute()
    while not path.exists():
        path = path.parent
    return path


def file_system(path, mounts="/proc/self/mounts"):
    """Return the kind of file system that a path is on, `unknown` where nobody says."""
    path, best, kind = str(nearest(path).resolve()), "", "unknown"
    try:
        lines = pathlib.Path(mounts).read_text().splitlines()
    except OSError:
        return kind
    for line in lines:
        _, at, found, *_ = line.split(" ")
        at = at.replace("\\040", " ")
        below = path == at or path.startswith(at.rstrip("/") + "/")
        if below and len(at) >= len(best):
            best, kind = at, found
    return kind


def descriptors(settings):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = CALL * settings.server.max_in_flight + OTHERS
    enough = hard == resource.RLIM_INFINITY or hard >= need
    return judge(
        enough,
        "descriptors",
        f"Up to {'any number' if hard == resource.RLIM_INFINITY else hard}, {need} are needed.",
        f"{hard} are too few for max_in_flight = {settings.server.max_in_flight}, which needs "
        f"{need}: raise LimitNOFILE (or ulimit -Hn), or lower max_in_flight.",
        WARNING,
    )


def clock(now=time.time):
    """Yield whether the wall clock can be right: keys, budgets and retention go by it."""
    installed = pathlib.Path(__file__).stat().st_mtime
    yield judge(
        now() > installed - 86400,
        "clock",
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now())),
        "It shows a time before this version was installed: set it, and run an NTP client.",
    )
    told = said("timedatectl", "show", "--property=NTPSynchronized", "--value")
    if told and told[0] == 0 and told[1].strip() == "no":
        yield Finding(WARNING, "clock", "It is not synchronised: run an NTP client.")


def versions(settings):
    """Yield whether Python and the libraries are what this version was made for."""
    python = ".".join(map(str, sys.version_info[:3]))
    wrong = f"Python {python} is too old: 3.11 or newer is needed."
    yield judge(sys.version_info >= (3, 11), "python", f"Python {python}.", wrong)
    try:
        required = metadata.requires("klintero-gateway") or []
    except metadata.PackageNotFoundError:
        yield Finding(
            OK, "libraries", "A checkout that was not installed: nothing to compare with."
        )
        return
    extras = ["", "redis"] if settings.server.redis_url else [""]
    if settings.server.database_url.startswith("postgresql"):
        extras.append("postgres")
    wrong = sorted({found for text in required if (found := misfit(Requirement(text), extras))})
    told = f"{'; '.join(wrong)}: install from requirements/server.txt."
    yield judge(not wrong, "libraries", "All are as required.", told)


def misfit(wanted, extras):
    """Say how an installed library is not the one that is wanted; None if it is."""
    if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
        return None
    try:
        found = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return f"{wanted.name} is missing"
    if wanted.specifier.contains(found, prereleases=True):
        return None
    return f"{wanted.name} is {found}, not {wanted.specifier}"
