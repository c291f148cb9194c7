"""Which of a client's headers go on to upstreams: its trace and its choice of beta features.

The gateway makes no spans, so by W3C's Trace Context a valid trace is passed on as it is, and none
is begun where there is none.
"""

import re

PARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    r"(?P<more>-[!-~]{1,64})?"  # what a later version may add
)
STATE = re.compile(r"[ \t]*([a-z0-9][a-z0-9_*/@-]{0,255})=[!-+\--<>-~ ]{0,255}[!-+\--<>-~][ \t]*")
LONGEST, MOST = 512, 32  # characters and members of a tracestate
BETA = re.compile(r"[A-Za-z0-9_.=,; -]{1,256}")


def passed(environ):
    """Return the headers to send with a call; what is not valid is left out."""
    found = {}
    trace = PARENT.fullmatch(environ.get("HTTP_TRACEPARENT", ""))
    if trace and not (trace["version"] == "00" and trace["more"]):
        found["traceparent"] = trace[0]
        state = environ.get("HTTP_TRACESTATE", "")
        if state and valid(state):
            found["tracestate"] = state
    beta = environ.get("HTTP_OPENAI_BETA", "")
    if BETA.fullmatch(beta):
        found["OpenAI-Beta"] = beta
    return found


def valid(state):
    """Tell whether a tracestate is one: members with different keys, not too many of them."""
    if len(state) > LONGEST:
        return False
    members = [STATE.fullmatch(member) for member in state.split(",") if member.strip(" \t")]
    keys = {member and member[1] for member in members}
    return None not in keys and len(keys) == len(members) and 0 < len(members) <= MOST
