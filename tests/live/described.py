"""What schemathesis loads beside the description: what that one can't say.

Names that are right name nothing that is there: they are put in here. DESCRIBED_RESPONSE and
DESCRIBED_JOB are ids of a background response and of a job.
"""

import itertools
import os
import re

import schemathesis

MODEL = "gpt-test"
WHOLE = range(-(2**63), 2**64)
IDS = {"/v1/responses/{id}": "DESCRIBED_RESPONSE", "/v1/jobs/{id}": "DESCRIBED_JOB"}
KEY = "Idempotency-Key"
KEYS = map("described-{}".format, itertools.count())


@schemathesis.hook
def before_call(context, case, kwargs):
    """Let no case end in what is not there, before the rest of it is looked at."""
    right = case.meta is None or not case.meta.generation.mode.is_negative
    if re.fullmatch(r"[!-~]([ -~]{0,253}[!-~])?", str((case.headers or {}).get(KEY, ""))):
        case.headers[KEY] = next(KEYS)
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        case.body["model"] = case.body["model"] and MODEL
    if right:
        name_what_is_there(case.path_parameters or {}, case.operation)
        for name in ("after", "before"):
            (case.query or {}).pop(name, None)
    if right and isinstance(case.body, dict):
        case.body = representable(case.body)
        mend(case.body)


def name_what_is_there(given, operation):
    if "model" in given:
        given["model"] = MODEL
    if "id" in given and operation.method.upper() != "DELETE":
        (given["id"],) = (
            os.environ[name] for path, name in IDS.items() if operation.path.startswith(path)
        )


def mend(body):
    """Put right what can't be together, and what the scripted upstream can't do."""
    for name in ("previous_response_id", "conversation"):
        body.pop(name, None)
    if "messages" not in body and not body.get("input"):
        body["input"] = "hi"
    if body.get("background"):
        body["store"] = True
    if body.get("dimensions"):
        body["dimensions"] = min(body["dimensions"], 64)


def representable(value):
    """Return JSON whose whole numbers fit into 64 bits, none of them written as a decimal."""
    if type(value) is float and value.is_integer() and int(value) in WHOLE:
        return int(value)
    if isinstance(value, dict):
        return {name: representable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [representable(inner) for inner in value]
    return 0 if type(value) is int and value not in WHOLE else value
