"""The header Prefer (RFC 7240): what a client would like, and may be passed over."""

import re

ITEM = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
PARAMETERS = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*"?)*')


def preferences(header):
    """Return the value of each preference by its name in lower case; the first one counts.

    One without a value has an empty one, and parameters are left out.
    """
    found = {}
    for item in ITEM.findall(header):
        name, _, value = PARAMETERS.match(item)[0].partition("=")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        found.setdefault(name.strip().lower(), value)
    return found


def wants_job(header):
    """Tell whether a client would rather be told of a job than wait for an answer."""
    return preferences(header).get("respond-async") == ""
