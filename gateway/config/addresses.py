"""What an address may be: where the gateway listens, where upstreams and databases are."""

import re
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from gateway.config.checks import text
from gateway.config.mistakes import Wrong, meant

HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9.])?")
BIND = re.compile(r"(\[[^\]]*\]|[^:\[\]]*):([0-9]{1,5})")
BIND_FORMS = 'expected "address:port", "[::1]:port" or "unix:/path"'
# The kernel's sockaddr_un holds 108 bytes, the last of them zero.
LONGEST_SOCKET = 107
ANYWHERE = ("0.0.0.0", "[::]")
CHAT = "/chat/completions"
# What a redis_url may say behind its "?"; of times and connections the gateway decides itself.
REDIS_OPTIONS = {"db": ("[0-9]{1,9}", "a whole number")}
FILE = ("/.+", "an absolute path")
REDIS_TLS_OPTIONS = {
    **REDIS_OPTIONS,
    "ssl_ca_certs": FILE,
    "ssl_certfile": FILE,
    "ssl_keyfile": FILE,
    "ssl_cert_reqs": ("none|optional|required", "none, optional or required"),
    "ssl_check_hostname": ("(?i:true|false)", "true or false"),
}


def bind(value, at):
    """Return an address to listen on, `address:port`, `[v6]:port` or `unix:/path`.

    It is written as a socket's own address would be, since the two are compared.
    """
    if text(value, at).startswith("unix:"):
        return socket_path(value)
    found = BIND.fullmatch(value)
    if not found:
        raise Wrong(BIND_FORMS)
    if not known_host(found[1]):
        raise Wrong(f"the host is not valid; {BIND_FORMS}")
    # A port that the kernel picks would be one that no configuration knows.
    if not 1 <= int(found[2]) <= 65535:
        raise Wrong("the port must be from 1 to 65535")
    return f"{plain_host(found[1].lower())}:{int(found[2])}"


def plain_host(host):
    if host.startswith("["):
        address = IPv6Address(host[1:-1])
        if address.ipv4_mapped:  # its socket would tell it in another spelling
            raise Wrong("the host is an IPv4 address: write it as one, such as 10.0.0.5:8000")
        return f"[{address}]"
    if host == "localhost":
        return "127.0.0.1"
    if not re.fullmatch(r"[0-9.]+", host):  # a socket tells its address and not its name
        raise Wrong("the host must be an address, such as 10.0.0.5 or 0.0.0.0, or localhost")
    return host


def socket_path(value):
    path = value.removeprefix("unix:")
    if path.startswith("///"):
        path = path[2:]  # gunicorn takes "unix://" for a prefix, too
    if not path.startswith("/") or path.startswith("//") or path.endswith("/") or "\0" in path:
        raise Wrong('a socket needs an absolute path: "unix:/run/gateway.sock"')
    if len(path.encode("utf-8", "surrogateescape")) > LONGEST_SOCKET:
        raise Wrong(f"the path of a socket has at most {LONGEST_SOCKET} bytes")
    return f"unix:{path}"


def known_host(host):
    """Tell whether a host is a name, an IPv4 address or an IPv6 address in brackets."""
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1]) is not None
        if re.fullmatch(r"[0-9.]+", host):
            return IPv4Address(host) is not None
    except ValueError:
        return False
    return HOST.fullmatch(host) is not None and ".." not in host


def clash(one, other):
    """Tell whether two addresses that `bind` returned can't both be had."""
    if "unix:" in (one[:5], other[:5]):
        return one == other
    (host, _, port), (host2, _, port2) = one.rpartition(":"), other.rpartition(":")
    return port == port2 and (host == host2 or host in ANYWHERE or host2 in ANYWHERE)


def split(value, schemes):
    """Split an address, after what urlsplit itself lets pass has been refused."""
    if not re.fullmatch(r"[!-~]*", value):
        raise Wrong("must be an address in ASCII, without spaces")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise Wrong("is no valid address: its host or its port can't be read") from None
    if parts.scheme not in schemes:
        raise Wrong(f"must begin with {' or '.join(scheme + '://' for scheme in schemes)}")
    host = parts.hostname or ""
    if not known_host(f"[{host}]" if ":" in host else host):
        raise Wrong("has no valid host" if host else "has no host")
    if port == 0 or parts.netloc.endswith(":"):
        raise Wrong("the port must be from 1 to 65535")
    return parts


def web_address(value):
    parts = split(value, ("http", "https"))
    if "?" in value or "#" in value:
        raise Wrong('must have no "?" and no "#"')
    return parts


def base_url(value, at):
    """Return the address that `/chat/completions` is appended to, without a slash at its end."""
    parts = web_address(text(value, at))
    if "@" in parts.netloc:
        raise Wrong("must hold no user or password: give the key as api_key")
    if parts.path.rstrip("/").endswith(CHAT):
        raise Wrong(f"must end before {CHAT}, which the gateway adds itself")
    return value.rstrip("/")


def proxy(value, at):
    if text(value, at) and web_address(value).path not in ("", "/"):
        raise Wrong("must have no path")
    return value.rstrip("/")


def redis_url(value, at):
    """Return an address that the package redis can use; it is not asked, as it may be missing."""
    if not text(value, at):
        return value
    parts = split(value, ("redis", "rediss"))
    if not re.fullmatch("/?|/[0-9]{1,9}/?", parts.path):
        raise Wrong("may name a database only by its number: redis://host:6379/0")
    if "#" in value:
        raise Wrong('must have no "#"')
    known = REDIS_TLS_OPTIONS if parts.scheme == "rediss" else REDIS_OPTIONS
    for name, given in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise Wrong(f"unknown option{meant(name, known)}")
        form, wanted = known[name]
        if not re.fullmatch(form, given):
            raise Wrong(f"its option {name} must be {wanted}")
    return value


def database_url(value, at):
    """Return an SQLAlchemy address, whose SQLite path is made absolute from the file's folder."""
    scheme = text(value, at).partition("://")[0]
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise Wrong("is no database address: sqlite:///path or postgresql+psycopg://…") from None
    if scheme == "sqlite":
        return sqlite(url, at)
    if scheme != "postgresql+psycopg":
        known = ("sqlite", "postgresql+psycopg")
        raise Wrong(f"unknown kind of database{meant(scheme, known)}")
    if not url.database:
        raise Wrong("names no database: postgresql+psycopg://user@host/database")
    return value


def sqlite(url, at):
    if url.host or url.username or url.query:
        raise Wrong("must be sqlite:///path, without a host or options")
    if url.database in (None, "", ":memory:") or url.database.endswith("/"):
        raise Wrong("needs a file, since several processes share it: sqlite:///path")
    path = at.report.folder / url.database
    return url.set(database=str(path)).render_as_string(hide_password=False)
