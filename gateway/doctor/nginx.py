"""The nginx sites in front of us: what they would hold back, cut short or refuse."""

import fnmatch
import os
import re

from gateway.doctor.finding import OK, PROBLEM, WARNING, Finding, judge, said

FILE = re.compile(r"^# configuration file (.+):$", re.M)
TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|(?:\\.|\$\{|[^\s;{}])+""")
# What holds where a site says nothing.
DEFAULTS = {
    "proxy_buffering": "on",
    "proxy_read_timeout": "60s",
    "client_max_body_size": "1m",
    "proxy_http_version": "1.0",
    "underscores_in_headers": "off",
    "proxy_next_upstream": "error timeout",
}
BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
SECONDS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
ANY = ("0.0.0.0", "[::]")


def check(settings):
    told = said("nginx", "-T")
    if told is None:
        yield Finding(OK, "nginx", "Not installed.")
        return
    status, text = told
    if status and not FILE.search(text):
        why = text.strip().splitlines()[-1:] or ["no word"]
        yield Finding(WARNING, "nginx", f"Its configuration cannot be read: {why[0]}")
        return
    sites = list(proxying(read(text), settings.server.bind))
    if not sites:
        yield Finding(OK, "nginx", f"No site of its passes anything to {settings.server.bind}.")
    for name, values in sites:
        yield from judged(name, values, settings)


def judged(name, values, settings):
    """Yield what is found of one location that leads to us."""
    name = f"nginx {name}"
    wrong = "proxy_buffering is on: set it off, so that streams pass as they come."
    yield judge(values["proxy_buffering"] == "off", name, "proxy_buffering is off.", wrong, WARNING)
    timeouts, read_timeout = settings.timeouts, duration(values["proxy_read_timeout"])
    wrong = f"proxy_read_timeout is {read_timeout:g} s: whole calls may be silent for total = "
    wrong += f"{timeouts.total:g} s. Set it above stream_total."
    fine = f"proxy_read_timeout is {read_timeout:g} s."
    yield judge(read_timeout > timeouts.total, name, fine, wrong)
    size, most = amount(values["client_max_body_size"]), settings.server.max_body_mb * 1024**2
    wrong = f"client_max_body_size is {values['client_max_body_size']}: we take "
    wrong += f"{settings.server.max_body_mb} MiB (max_body_mb). Set both to the same."
    yield judge(not size or size >= most, name, "client_max_body_size is enough.", wrong, WARNING)
    version = values["proxy_http_version"]
    wrong = f"proxy_http_version is {version}: set 1.1, so that connections are kept."
    yield judge(version != "1.0", name, f"proxy_http_version is {version}.", wrong, WARNING)
    if values["underscores_in_headers"] == "on":
        told = "underscores_in_headers is on: set it off, or X_Name passes for X-Name."
        yield Finding(WARNING, name, told)
    if "non_idempotent" in values["proxy_next_upstream"].split():
        told = "proxy_next_upstream has non_idempotent: calls would be made, and paid, twice."
        yield Finding(PROBLEM, name, told)


def read(text):
    """Return the directives of `nginx -T` as (name, arguments, directives inside or None)."""
    parts = FILE.split(text)[1:]
    files = dict(zip(parts[::2], parts[1::2], strict=True))
    main = next(iter(files))
    return included(main, files, os.path.dirname(main), ())


def included(path, files, folder, above):
    """Return a file's directives, with those of the files it includes in their place."""

    def expand(block):
        for name, arguments, inside in block:
            if name != "include" or not arguments:
                yield name, arguments, inside and list(expand(inside))
                continue
            pattern = os.path.join(folder, arguments[0])
            for other in sorted(fnmatch.filter(files, pattern)):
                if other != path and other not in above:
                    yield from included(other, files, folder, (*above, path))

    tokens = (match[0] for match in TOKEN.finditer(files[path]) if match[0][0] != "#")
    return list(expand(list(block(tokens))))


def block(tokens):
    """Yield the directives up to the end of a block."""
    words = []
    for token in tokens:
        if token == "}":
            return
        if token in "{;":
            inside = list(block(tokens)) if token == "{" else None
            if words:
                yield words[0], words[1:], inside
            words = []
        else:
            words.append(token[1:-1] if token[0] in "\"'" else token)


def proxying(directives, bind):
    """Yield (name, what holds there) for each location that passes to an address of ours."""
    ours = {
        arguments[0]
        for http in inside(directives, "http")
        for name, arguments, servers in http
        if name == "upstream" and any(same(a[0], bind) for n, a, _ in servers if n == "server")
    }
    for http in inside(directives, "http"):
        for server in inside(http, "server"):
            names = next((" ".join(a) for name, a, _ in server if name == "server_name"), "_")
            outer = {**DEFAULTS, **values(http), **values(server)}
            for path, found in locations(server, outer):
                address = found["proxy_pass"].partition("://")[2]
                if address.partition("/")[0] in ours or same(address, bind):
                    yield f"{names} {path}", found


def locations(directives, outer):
    for name, arguments, inner in directives:
        if inner is None or name not in ("location", "if", "limit_except"):
            continue
        found = {**outer, "proxy_pass": "", **values(inner)}
        yield " ".join(arguments), found
        yield from locations(inner, found)


def inside(directives, wanted):
    return [inner for name, _, inner in directives if name == wanted and inner is not None]


def values(directives):
    return {name: " ".join(arguments) for name, arguments, inner in directives if inner is None}


def same(address, bind):
    """Tell whether an address in nginx's words is the one that we listen on."""
    if bind.startswith("unix:"):
        return ":".join(address.split(":")[:2]) == bind
    host, _, port = address.partition("/")[0].rpartition(":")
    ours, _, our_port = bind.rpartition(":")
    host = {"localhost": "127.0.0.1", "[::1]": "127.0.0.1"}.get(host, host)
    return port == our_port and (host == ours or ours in ANY)


def duration(text):
    """Return the seconds of nginx's `1h 30m`."""
    parts = re.findall(r"(\d+)(ms|[smhdw]?)", text)
    return sum(int(number) * SECONDS[unit] for number, unit in parts)


def amount(text):
    """Return the bytes of nginx's `20m`."""
    found = re.fullmatch(r"(\d+)([kmg]?)", text.lower())
    return int(found[1]) * BYTES[found[2]] if found else 0
