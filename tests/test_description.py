"""The description says what the API does: its paths, its codes, its examples; and its page."""

import base64
import copy
import hashlib
import html.parser
import json
import re

import jsonschema
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from gateway import errors, metrics
from gateway.description import answers, bodies, examples, faults, operations
from gateway.description import page as page_module
from gateway.description.document import document
from gateway.description.page import phrase
from tests.endpoints.refused import refused
from tests.serving import KEY

OPERATIONS = [
    pytest.param(path, method, operation, id=operation["operationId"])
    for path, methods in operations.PATHS.items()
    for method, operation in methods.items()
]
# Paths that say nothing of models: for operators, or this description itself.
OTHERS = {"/metrics", "/openapi.json", "/docs"}
# Codes that no answer of a described operation has.
ELSEWHERE = {"client_closed_request", "cancelled", "expired", "method_not_allowed"}
ELSEWHERE |= {"unsupported_value"}  # an upstream's


@pytest.fixture
def stranger(app):
    return app.test_client()


def references(found):
    if isinstance(found, dict):
        if isinstance(found.get("$ref"), str):
            yield found["$ref"]
        for value in found.values():
            yield from references(value)
    elif isinstance(found, list):
        for value in found:
            yield from references(value)


def test_document_is_valid_openapi():
    found = json.loads(json.dumps(document()))

    jsonschema.Draft202012Validator(OPENAPI_31).validate(found)
    for schema in found["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for where in references(found):
        _, *steps = where.split("/")
        place = found
        for step in steps:
            place = place[step]
    assert found["openapi"] == "3.1.1"


def test_every_component_is_used():
    found = document()
    used = set(references(found))

    for kind in ("schemas", "parameters", "headers"):
        for name in found["components"][kind]:
            assert f"#/components/{kind}/{name}" in used, name


def test_every_endpoint_is_described_and_nothing_else(app):
    served = {
        (re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule not in OTHERS
    }
    described = {
        (path, method) for path, methods in document()["paths"].items() for method in methods
    }
    assert described == served


def test_operations_have_ids_of_their_own_and_their_path_s_parameters():
    found = document()
    names = []
    for path, methods in found["paths"].items():
        for operation in methods.values():
            names.append(operation["operationId"])
            given = [
                found["components"]["parameters"][p["$ref"].rpartition("/")[2]]
                for p in operation.get("parameters", ())
            ]
            places = [(p["in"], p["name"].lower()) for p in given]
            assert len(set(places)) == len(places)
            in_path = {p["name"] for p in given if p["in"] == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path))
    assert len(set(names)) == len(names)


def test_health_alone_needs_no_key():
    found = document()
    free = {p for p, methods in found["paths"].items() for o in methods.values() if "security" in o}

    assert found["security"] == [{"key": []}]
    assert free == {"/healthz", "/readyz"}
    for path, methods in found["paths"].items():
        for operation in methods.values():
            assert ("401" in operation["responses"]) == (path not in free), path


def test_every_code_has_a_meaning_and_its_status():
    told = {code: kind for kind, codes in faults.MEANINGS.items() for code in codes}

    assert set(told) == metrics.CODES - ELSEWHERE
    for kind in faults.MEANINGS:
        if kind is not errors.InvalidValue:
            assert list(faults.MEANINGS[kind]) == [kind.code]
        assert kind.status in faults.REASONS


@pytest.mark.parametrize("path, method, operation", OPERATIONS)
def test_examples_of_bodies_and_errors_are_right(path, method, operation):
    checks = {v: k for k, v in bodies.SCHEMAS.items()}
    sent = operation.get("requestBody")
    if sent:
        media = sent["content"]["application/json"]
        (schema,) = (s for s, n in checks.items() if media["schema"]["$ref"].endswith(f"/{n}"))
        for example in media["examples"].values():
            schema.check(example["value"])
    for status, answer in operation["responses"].items():
        media = answer.get("content", {}).get("application/json", {})
        if status[0] in "45" and "example" in media:
            jsonschema.validate(media["example"], answers.ERROR)


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_description_needs_no_key_and_may_be_kept(stranger, path):
    answer = stranger.get(path)

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"].startswith("req_")
    again = stranger.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert "date" not in answer.headers and "date" not in again.headers  # the server writes it
    wrong = stranger.get(path, headers={"Authorization": "Bearer sk-wrong"})
    assert wrong.data == answer.data
    refused(stranger.post(path), 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_description_is_not_on_the_ops_listener(app, stranger, path):
    host, _, port = app.extensions["gateway"].settings.server.ops_bind.rpartition(":")
    there = {"gateway.listener": (host, int(port))}

    refused(stranger.get(path, environ_overrides=there), 404, "unknown_url")


def test_served_document_is_the_document_and_holds_nothing_of_the_configuration(stranger, upstream):
    answer = stranger.get("/openapi.json")

    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.data) == json.loads(json.dumps(document()))
    for page in (answer.data, stranger.get("/docs").data):
        for secret in ("gpt-test", upstream.url, "sk-upstream-secret", KEY, "upstream-model"):
            assert secret.encode() not in page


class Page(html.parser.HTMLParser):
    """What a page is made of, and whether its elements are closed in order."""

    VOID = {"meta", "link", "br", "img", "input"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.ids, self.text = [], [], [], set(), []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self.links += [attrs[name] for name in ("href", "src") if name in attrs]
        self.ids |= {attrs["id"]} if "id" in attrs else set()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_page_shows_every_endpoint_and_needs_no_script_and_nothing_from_elsewhere(stranger):
    answer = stranger.get("/docs")
    page = Page(answer.text)
    policy = answer.headers["content-security-policy"]

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy
    assert not {tag for tag, _ in page.tags} & {"script", "img", "link", "iframe", "form", "object"}
    assert not [a for _, attrs in page.tags for a in attrs if a == "style" or a.startswith("on")]
    text = "".join(page.text)
    for path, methods in document()["paths"].items():
        for operation in methods.values():
            assert operation["operationId"] in page.ids
            assert path in text and operation["summary"] in text
    inside = {f"#{id}" for id in page.ids}
    assert set(page.links) <= inside | {"/openapi.json"}


def test_policy_allows_the_page_s_own_style_and_no_other(stranger):
    answer = stranger.get("/docs")
    (style,) = re.findall("<style>(.*?)</style>", answer.text, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert f"'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert "url(" not in style and "@import" not in style


@pytest.mark.parametrize(
    "schema, words",
    [
        ({"type": "string"}, "string"),
        ({"type": ["integer", "null"], "minimum": 1, "maximum": 128}, "integer ≥ 1 ≤ 128"),
        ({"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1}, "integer"),
        ({"enum": ["a", "b", None]}, '"a", "b"'),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string"),
        ({"$ref": "#/components/schemas/Job"}, "Job"),
        ({"type": "array", "items": {}, "maxItems": 4}, "array of anything at most 4"),
        ({}, "anything"),
    ],
)  # fmt: skip
def test_schemas_are_told_in_a_few_words(schema, words):
    assert phrase(schema) == words


EVIL = "<script>alert('1')</script> `<b>\"&`"


def test_page_shows_markup_as_text(monkeypatch):
    found = copy.deepcopy(document())
    found["info"]["title"] = found["info"]["description"] = EVIL
    operation = found["paths"]["/v1/models"].pop("get")
    operation |= {"operationId": EVIL, "summary": EVIL, "description": EVIL, "tags": [EVIL]}
    operation["parameters"] = [{"name": EVIL, "in": EVIL, "description": EVIL, "schema": {}}]
    operation["responses"]["200"]["description"] = f"{EVIL}\n- {EVIL}"
    found["paths"][f"/{EVIL}"] = {"get": operation}
    monkeypatch.setattr(page_module, "document", lambda: found)
    monkeypatch.setitem(examples.PYTHON, EVIL, EVIL)

    text = page_module.page()[0].decode()

    read = Page(text)
    assert "script" not in {tag for tag, _ in read.tags} and "b" not in {t for t, _ in read.tags}
    assert "".join(read.text).count("<script>alert('1')</script>") >= 8
