"""What OpenAI has published about the events of a response, for checking ours by it."""

import json
from functools import cache
from pathlib import Path

from jsonschema import Draft202012Validator

FOUND = json.loads(Path(__file__).with_name("openai_events.json").read_text())


@cache
def validator(kind):
    schema = {"$ref": f"#/$defs/{FOUND['events'][kind]}", "$defs": FOUND["$defs"]}
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def faults(event):
    """Return what is wrong with an event by the schema that is published for its type."""
    return [f"{e.json_path}: {e.message}" for e in validator(event["type"]).iter_errors(event)]
