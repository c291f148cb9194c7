"""The files by which processes share their metrics: read as one, and kept from growing in number.

prometheus_client has each process add to files of its own and leaves those of the dead, which
would be thousands after a week of recycled workers. Here they are folded into one of each kind.
It is imported before the variable is set that prometheus_client looks for, hence the imports below.
"""

import contextlib
import fcntl
import logging
import os
import re
import shutil
import tempfile

log = logging.getLogger("gateway")

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
MADE = "gateway-metrics-"
SHARED = "/dev/shm"
# A process id has at most seven digits; a number of many the kernel could not be asked about.
LEFT = re.compile(rf"{MADE}(?P<pid>[0-9]{{1,7}})-")
NAME = re.compile(r"(?P<kind>[a-z_]+)_(?P<pid>[0-9]{1,7}|dead)\.db")


def prepare(environ):
    """See that there is a folder; return it if it was made here, None if it was given."""
    if environ.get(FOLDER):
        return None
    parent = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or memory()
    forget(parent)
    made = environ[FOLDER] = tempfile.mkdtemp(prefix=f"{MADE}{os.getpid()}-", dir=parent)
    return made


def memory():
    """Return a folder in memory where there is one.

    The files are written through maps: a page that a full disk has no room for kills its process.
    """
    return SHARED if os.path.isdir(SHARED) else tempfile.gettempdir()


def forget(parent):
    """Remove the folders of masters that were killed before they could do so themselves."""
    for entry in os.scandir(parent):
        named = LEFT.match(entry.name)
        with contextlib.suppress(OSError):
            # Any account may make folders here, and name them as it likes.
            ours = named and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
            if ours and not alive(int(named["pid"])):
                shutil.rmtree(entry.path)


def keep(folder):
    """See that the folder is there, which something that tidies up may have removed."""
    os.makedirs(folder, mode=0o700, exist_ok=True)


def clear(folder):
    """Take away what no living process but this writes to: a new start counts from 0."""
    keep(folder)
    with locked(folder, fcntl.LOCK_EX):
        for path, _, pid in files(folder):
            if pid in ("dead", str(os.getpid())) or gone(pid):
                remove(path)


def bury(folder, pid=None):
    """Fold the files of a process that has died, and of any other dead one, into the dead's."""
    with locked(folder, fcntl.LOCK_EX):
        for path, kind, found in files(folder):
            if found == str(pid) or gone(found):
                try:
                    fold(path, kind, os.path.join(folder, f"{kind}_dead.db"))
                except Exception as exc:
                    log.error("metrics of a dead process are lost", exc_info=exc)
                remove(path)


def fold(path, kind, into):
    """Add counts up; of two values of a gauge the newer one stays, and what only lives goes."""
    from prometheus_client.mmap_dict import MmapedDict

    if kind.startswith("gauge_live"):
        return
    with contextlib.closing(MmapedDict(into)) as dead:
        for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(path):
            before, at = dead.read_value(key)
            if not kind.startswith("gauge"):
                dead.write_value(key, before + value, 0.0)
            elif timestamp >= at:
                dead.write_value(key, value, timestamp)


def text(folder):
    """Return the Prometheus text of all the files."""
    from prometheus_client import CollectorRegistry, generate_latest

    # Those of a master that was killed, or of a job worker, have had nobody to see them die.
    if any(gone(pid) for _, _, pid in files(folder)):
        bury(folder)
    registry = CollectorRegistry()
    with locked(folder, fcntl.LOCK_SH):  # what is being folded would be seen twice, or not at all
        registry.register(Begun(folder))
        return generate_latest(registry)


class Begun:
    """Collects from the files of a folder; one that has just been made is empty for a moment."""

    def __init__(self, folder):
        self.folder = folder

    def collect(self):
        from prometheus_client.multiprocess import MultiProcessCollector

        found = [path for path, _, _ in files(self.folder) if os.path.getsize(path)]
        return MultiProcessCollector.merge(found, accumulate=True)


def files(folder):
    """Return (path, kind, process id or "dead") of each file."""
    found = [(entry.path, NAME.fullmatch(entry.name)) for entry in os.scandir(folder)]
    return [(path, name["kind"], name["pid"]) for path, name in found if name]


def gone(pid):
    """Tell whether the process id in a file's name is one that has died and was not folded yet."""
    return pid != "dead" and not alive(int(pid))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another account's
    return True


def remove(path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


@contextlib.contextmanager
def locked(folder, how):
    """Lock the folder itself against others who read or fold; the lock ends with its process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # gevent closes only at its loop's next turn
        os.close(descriptor)
