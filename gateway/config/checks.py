"""What a single value may be: a check takes a value and its place, returns it or raises Wrong.

What takes bounds returns such a check. Addresses have a file of their own.
"""

import re
import ssl

from gateway.config.mistakes import Wrong, meant

ENDPOINTS = ("chat", "responses", "embeddings")
WEEK = 7 * 24 * 3600
MOST_WORKERS = 256  # processes

# Upstreams are named in response headers such as `a:429,b:200`.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MODEL = re.compile(r"[!-~](?:[ -~]{0,254}[!-~])?")
SECRET = re.compile(r"[!-~]*")
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

REFUSED_HEADERS = {
    "authorization": "give the key as api_key",
    "host": "it follows from base_url",
    **dict.fromkeys(
        ("content-type", "content-length", "content-encoding", "accept", "accept-encoding"),
        "the gateway sets it with each call",
    ),
    **dict.fromkeys(
        ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization")
        + ("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
        "it belongs to a single connection",
    ),
}

KINDS = {
    str: "a string",
    bool: "a boolean",
    int: "a whole number",
    float: "a number with a fraction",
    list: "an array",
    dict: "a table",
}


def expect(value, kinds, wanted):
    """Refuse a value of another type; a boolean is no number."""
    if type(value) not in kinds:
        raise Wrong(f"expected {wanted}, but got {KINDS.get(type(value), 'a date or time')}")


def boolean(value, at):
    expect(value, (bool,), "true or false")
    return value


def text(value, at):
    expect(value, (str,), "a string")
    return value


def whole(least, most):
    def check(value, at):
        expect(value, (int,), "a whole number")
        if not least <= value <= most:
            raise Wrong(f"must be from {least} to {most}, not {value}")
        return value

    return check


def number(least, most, above=False):
    """Accept whole numbers and fractions; with `above`, `least` itself is refused."""
    bounds = f"more than {least} and at most {most}" if above else f"from {least} to {most}"

    def check(value, at):
        expect(value, (int, float), "a number")
        if not least <= value <= most or (above and value == least):
            raise Wrong(f"must be {bounds}, not {value}")
        return value

    return check


seconds = number(0, WEEK, above=True)


def name(value, at):
    if not NAME.fullmatch(text(value, at)):
        raise Wrong("must be 1 to 64 letters, digits, dots, dashes and underscores")
    return value


def model(value, at):
    if not MODEL.fullmatch(text(value, at)):
        raise Wrong("must be 1 to 256 printable ASCII characters, with no space at its ends")
    if "*" in value[:-1]:
        raise Wrong('may hold a "*" only at its end')
    return value


def model_or_none(value, at):
    return model(value, at) if text(value, at) else ""


def models(value, at):
    expect(value, (list,), "an array of strings")
    return tuple(at.into(index).read(model, item) for index, item in enumerate(value))


def secret(value, at):
    if not SECRET.fullmatch(text(value, at)):
        raise Wrong("must be printable ASCII without spaces")
    return value


def endpoints(value, at):
    expect(value, (list,), "an array of strings")
    if not value:
        raise Wrong(f"must name at least one of {', '.join(ENDPOINTS)}")
    return tuple(at.into(index).read(endpoint, item) for index, item in enumerate(value))


def endpoint(value, at):
    if text(value, at) not in ENDPOINTS:
        raise Wrong(f"unknown endpoint{meant(value, ENDPOINTS)}")
    return value


def headers(value, at):
    expect(value, (dict,), "a table of strings")
    seen = set()
    for header, content in value.items():
        place = at.into(header)
        place.read(header_name, header)
        place.read(header_value, content)
        if header.lower() in seen:
            place.wrong("is given twice (the case of letters makes no difference)")
        seen.add(header.lower())
    return dict(value)


def header_name(value, at):
    if not HEADER.fullmatch(value):
        raise Wrong("is no valid header name")
    if reason := REFUSED_HEADERS.get(value.lower()):
        raise Wrong(f"this header can't be added: {reason}")


def header_value(value, at):
    if UNPRINTABLE.search(text(value, at)):
        raise Wrong("must not hold line breaks or other control characters")
    if value != value.strip():
        raise Wrong("must not begin or end with a space")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise Wrong("must hold only characters of Latin-1") from None


def ca_file(value, at):
    """Accept the path of a file with certificates, relative to the configuration's folder."""
    if not text(value, at):
        return value
    path = str(at.report.folder / value)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise Wrong("this file holds no certificate that can be read") from None
    except (OSError, ValueError) as error:
        raise Wrong(f"this file can't be read: {getattr(error, 'strerror', error)}") from None
    return path
