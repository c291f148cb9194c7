"""Reading: a file or the environment alone becomes Settings, or one ConfigError for all of it."""

import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path

from sqlalchemy import make_url

from gateway.config import addresses, agreement, checks, places
from gateway.config.mistakes import Place, Report, Wrong
from gateway.config.references import filled
from gateway.config.shape import LocalModel, Server, Settings, Table

SERVER_VARIABLES = {
    "bind": "GATEWAY_BIND",
    "ops_bind": "GATEWAY_OPS_BIND",
    "database_url": "GATEWAY_DATABASE_URL",
    "redis_url": "GATEWAY_REDIS_URL",
}
UPSTREAM_VARIABLES = {"base_url": "GATEWAY_UPSTREAM_URL", "api_key": "GATEWAY_UPSTREAM_KEY"}
LOCAL_VARIABLES = ("GATEWAY_LOCAL_CHAT_URL", "GATEWAY_LOCAL_EMBED_URL")
TOO_DEEP = "arrays and tables are nested too deeply"


def load(environ=os.environ, path=None):
    """Return the Settings of a file, of the environment, or of the built-in default.

    The file is `path`, else the one that GATEWAY_CONFIG names, else ./gateway.toml if it is there.
    Raises ConfigError, which lists every mistake. An empty variable counts as one that is not set.
    """
    path = path or environ.get("GATEWAY_CONFIG") or default_file()
    folder = Path(path).absolute().parent if path else Path.cwd()
    report = Report(str(path or ""), folder, environ)
    data = parsed(path, report) if path else lone_upstream(report)
    local = not path and not data
    override(data, report)
    at = Place(report)
    found = checked(data, at)
    agreement.check(found, at, local)
    keys = variable(report, "GATEWAY_API_KEYS", api_keys) or ()
    model = LocalModel(variable(report, "GATEWAY_LOCAL_MODEL", model_file)) if local else None
    urls = [variable(report, name, addresses.base_url) for name in LOCAL_VARIABLES if local]
    workers = variable(report, "WEB_CONCURRENCY", worker_count)
    report.close()
    found = replace(found, path=path and Path(path), state=state(found, folder, environ))
    found = complete(replace(found, api_keys=keys, local_model=model, workers=workers))
    return found.with_local_model(*urls) if local and all(urls) else found


def state(found, folder, environ):
    """Return the folder for this machine's own files: SQLite's, systemd's, or var/."""
    url = make_url(found.server.database_url)
    if url.get_backend_name() == "sqlite":
        return Path(url.database).parent
    return Path(environ.get("STATE_DIRECTORY", "").partition(":")[0] or folder / "var")


def default_file():
    return "gateway.toml" if os.path.lexists("gateway.toml") else None


def parsed(path, report):
    """Return what the file says; of a file that is no TOML nothing else can be reported."""
    at = Place(report)
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
        data = tomllib.loads(text)
        report.lines = places.lines(text)
        return data
    except UnicodeDecodeError as error:
        report.lines[()] = error.object.count(b"\n", 0, error.start) + 1
        at.wrong("the file is not UTF-8")
    except tomllib.TOMLDecodeError as error:
        reason, _, position = str(error).rpartition(" (at ")
        line = re.match(r"line (\d+)", position)
        report.lines[()] = int(line[1]) if line else text.rstrip().count("\n") + 1
        at.wrong(reason if line else str(error))
    except ValueError:
        at.wrong("a number is too long")
    except RecursionError:
        at.wrong(TOO_DEEP)
    except OSError as error:
        at.wrong(f"can't be read: {error.strerror}")
    report.close()


def checked(data, at):
    """Return what the data become, with None for each part that is wrong."""
    try:
        return at.read(Table(Settings), filled(data, at))
    except RecursionError:  # a key of a thousand parts is a thousand tables, which TOML allows
        at.wrong(TOO_DEEP)
    at.report.close()


def lone_upstream(report):
    """Return what a file would say to get the upstream that the environment alone gives."""
    given = {
        key: report.environ[name]
        for key, name in UPSTREAM_VARIABLES.items()
        if report.environ.get(name)
    }
    for key, name in UPSTREAM_VARIABLES.items():
        report.variables["upstream", 0, key] = name
    return {"upstream": [{"name": "upstream", "discover": True, **given}]} if given else {}


def override(data, report):
    """Lay the environment's settings over the file's [server]."""
    server = data.setdefault("server", {})
    if not isinstance(server, dict):
        return
    # The default path of the database is relative too, so it takes the way of a given one.
    server.setdefault("database_url", Server.database_url)
    for key, name in SERVER_VARIABLES.items():
        if report.environ.get(name):
            server[key] = report.environ[name]
            report.variables["server", key] = name


def variable(report, name, check):
    """Return what `check` makes of an environment variable, or None if it is not set."""
    return Place(report, variable=name).read(check, report.environ.get(name) or None)


def api_keys(value, at):
    """Return the keys of a comma-separated list, saying of a bad one only which it is."""
    keys = value.split(",")
    for number, key in enumerate(keys, 1):
        if not key:
            at.wrong(f"entry {number} of {len(keys)} is empty")
        elif not checks.SECRET.fullmatch(key):
            at.wrong(f"entry {number} of {len(keys)} must be printable ASCII without spaces")
    return tuple(keys)


def worker_count(value, at):
    """Return how many processes a variable asks for; gunicorn would take none, too."""
    if not re.fullmatch("[0-9]{1,9}", value) or not 1 <= int(value) <= checks.MOST_WORKERS:
        raise Wrong(f"must be a whole number from 1 to {checks.MOST_WORKERS}")
    return int(value)


def model_file(value, at):
    """Return the absolute path of a model's file whose name can be a model's id."""
    path = at.report.folder / os.path.expanduser(value)
    if not path.is_file():
        raise Wrong("there is no such file")
    if not checks.MODEL.fullmatch(path.stem) or "*" in path.stem:
        raise Wrong("the name of this file can't be a model's id: rename it")
    return str(path)


def complete(found):
    """Return Settings whose upstreams and models are dicts with all that was left out filled in."""
    upstreams = {u.name: with_timeouts(u, found.timeouts) for u in found.upstreams}
    models = {model.id: with_names(model) for model in found.models}
    return replace(found, upstreams=upstreams, models=models)


def with_timeouts(upstream, common):
    own = upstream.timeouts
    return replace(upstream, timeouts=replace(common, **own) if isinstance(own, dict) else common)


def with_names(model):
    name = "*" if model.wildcard else model.id
    targets = tuple(replace(target, model=target.model or name) for target in model.targets)
    return replace(model, targets=targets)
