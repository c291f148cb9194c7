"""The description as a page: rendered here, with no script and nothing from elsewhere."""

import base64
import hashlib
import json
import pathlib
import re

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from gateway.description import examples
from gateway.description.document import document

CODE = re.compile(r"`([^`]+)`")
LIMITS = {"minimum": "≥", "maximum": "≤", "minItems": "at least", "maxItems": "at most"}
FAR = 2**53  # bounds beyond it are those of JSON numbers, and nothing to tell of
LONGEST = 12  # words that are told of one by one


def page():
    """Return the page as bytes, and the Content-Security-Policy that it needs."""
    folder = pathlib.Path(__file__).parent
    env = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=FileSystemLoader(folder)
    )
    env.filters.update(marked=marked, phrase=phrase)
    style = (folder / "style.css").read_text()
    found = env.get_template("page.html").render(
        info=document()["info"], tags=tags(), style=Markup(style), client=examples.CLIENT
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return found.encode(), policy


def tags():
    """Return the operations by their tags, in the order of the document."""
    found = {}
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            found.setdefault(operation["tags"][0], []).append(shown(path, method, operation))
    return found


def shown(path, method, operation):
    name = operation["operationId"]
    return {
        "id": name,
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "about": operation["description"],
        "parameters": [resolved(parameter) for parameter in operation.get("parameters", ())],
        "body": body(operation),
        "answers": [answer(*pair) for pair in operation["responses"].items()],
        "curl": examples.curl(method.upper(), path, name, "security" not in operation),
        "python": examples.python(name),
    }


def body(operation):
    """Return the schema of what is sent, or nothing."""
    sent = operation.get("requestBody")
    return resolved(sent["content"]["application/json"]["schema"]) if sent else None


def answer(status, found):
    about, *codes = found["description"].split("\n")
    media = found["content"]
    schema = phrase(media["application/json"]["schema"])
    kinds = [schema, *(["events"] if "text/event-stream" in media else [])]
    codes = [code.removeprefix("- ") for code in codes if code]
    return {"status": status, "about": about, "codes": codes, "schema": " or ".join(kinds)}


def resolved(found):
    """Return what a reference stands for, or what is no reference as it is."""
    while "$ref" in found:
        *_, kind, name = found["$ref"].split("/")
        found = document()["components"][kind][name]
    return found


def phrase(schema):
    """Say in a few words what a schema takes; null is left out, since it means the default."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(phrase(form) for form in told(schema["anyOf"])))
    if "enum" in schema:
        return words([word for word in schema["enum"] if word is not None])
    kinds = schema.get("type", "anything")
    kind = " or ".join(told(kinds)) if isinstance(kinds, list) else kinds
    if "items" in schema:
        inner = phrase(schema["items"])
        kind = f"{kind} of {inner}" if len(inner) < 40 else kind
    return " ".join([kind, *limits(schema)])


def told(forms):
    return [form for form in forms if form not in ("null", {"type": "null"})]


def words(found):
    shown = ", ".join(json.dumps(word) for word in found[:LONGEST])
    return f"{shown}, …" if len(found) > LONGEST else shown


def limits(schema):
    for name, sign in LIMITS.items():
        if schema.get(name) and abs(schema[name]) <= FAR:
            yield f"{sign} {schema[name]:g}"


def marked(text):
    """Return a text as HTML, what stands between backticks as code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))
