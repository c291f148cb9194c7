"""Upstreams: does the name resolve, does a connection open, is there a key. No call is made."""

import ipaddress
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import certifi

from gateway.doctor.finding import OK, PROBLEM, WARNING, Finding

AT_ONCE = 16


def check(settings):
    upstreams = list(settings.upstreams.values())
    if not upstreams:
        told = "The local model." if settings.local_model else "There are none: calls are 404."
        yield Finding(OK if settings.local_model else WARNING, "upstreams", told)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for found in pool.map(lambda upstream: list(asked(upstream)), upstreams):
            yield from found


def asked(upstream):
    name = f"upstream {upstream.name}"
    base = urlsplit(upstream.base_url)
    # Through a proxy, whether the upstream itself can be reached is the proxy's to know.
    to = urlsplit(upstream.proxy) if upstream.proxy else base
    port = to.port or (443 if to.scheme == "https" else 80)
    where = f"{to.hostname}:{port}" + (" (its proxy)" if upstream.proxy else "")
    try:
        found = connected(to.hostname, port, to.scheme == "https", upstream)
        yield Finding(OK, name, f"{where} {found}.")
    except socket.gaierror as exc:
        yield Finding(PROBLEM, name, f"{to.hostname} has no address ({exc.strerror}): see its DNS.")
    except ssl.SSLCertVerificationError as exc:
        told = f"the certificate of {where} is not trusted ({exc.verify_message})"
        yield Finding(PROBLEM, name, f"{told}: set ca_file where it is your own authority's.")
    except ssl.SSLError as exc:
        yield Finding(PROBLEM, name, f"{where} does not speak TLS as expected ({exc.reason}).")
    except OSError as exc:
        why = "no answer in time" if isinstance(exc, TimeoutError) else exc.strerror or "refused"
        yield Finding(PROBLEM, name, f"{where} cannot be reached ({why}): see its port, firewalls.")
    if not keyed(upstream) and not near(base.hostname):
        told = "No key is set: give api_key, or a header that authorises, unless it needs none."
        yield Finding(WARNING, name, told)


def connected(host, port, tls, upstream):
    """Open a connection and say how it went."""
    timeout = upstream.timeouts.connect
    with socket.create_connection((host, port), timeout) as sock:
        if not tls:
            return "accepts connections"
        context = ssl.create_default_context(cafile=upstream.ca_file or certifi.where())
        with context.wrap_socket(sock, server_hostname=host) as safe:
            return f"speaks {safe.version()}"


def keyed(upstream):
    words = ("authorization", "key", "token")
    named = (name.lower() for name in upstream.headers)
    return bool(upstream.api_key) or any(word in name for name in named for word in words)


def near(host):
    """Tell whether a host is this machine or in its private network, where keys are rare."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or "." not in host
