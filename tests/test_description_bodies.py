"""Whatever the checks of a body say of it, the description says too."""

import copy

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.description import bodies
from gateway.description.document import document
from gateway.schemas import STEERING
from tests.schemas.bodies import BAD, GOOD
from tests.schemas.test_any_body import JUDGED, KEYS, VALUES, WORDS, accepts

# JSON Schema takes 1.0 for an integer, and the checks don't: nothing else is told apart.
CHECKER = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
    "integer", lambda checker, value: type(value) is int
)
Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=CHECKER)


def described(schema):
    (name,) = (name for name, found in bodies.SCHEMAS.items() if found is schema)
    root = {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}
    return Validator(root)


VALIDATORS = {schema: described(schema) for schema in bodies.SCHEMAS.values()}


@pytest.mark.parametrize("schema, body", GOOD)
def test_description_takes_what_is_taken(schema, body):
    assert VALIDATORS[schema].is_valid(body)


@pytest.mark.parametrize("schema, body", [row[:2] for row in BAD])
def test_description_refuses_what_is_refused(schema, body):
    assert not VALIDATORS[schema].is_valid(body)


@pytest.mark.parametrize("name", sorted(STEERING))
def test_description_refuses_what_would_steer_the_connection(name):
    for schema, body in GOOD[:1]:
        assert not VALIDATORS[schema].is_valid({**body, name: "x"})


def places(value, place=()):
    yield place
    if isinstance(value, (dict, list)):
        steps = value if isinstance(value, dict) else range(len(value))
        for step in steps:
            yield from places(value[step], (*place, step))


@st.composite
def changed(draw):
    """A good body in one place of which something else stands, or nothing."""
    schema, good = draw(st.sampled_from(GOOD))
    body = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 2))):
        *way, last = draw(st.sampled_from([place for place in places(body) if place]))
        inside = body
        for step in way:
            inside = inside[step]
        how = draw(st.sampled_from(["replace", "remove", "add"]))
        value = draw(VALUES | st.sampled_from(WORDS))
        if how == "remove" and isinstance(inside, dict):
            del inside[last]
        elif how == "add" and isinstance(inside, dict):
            inside[draw(st.sampled_from(KEYS))] = value
        else:
            inside[last] = value
        if not body:
            break
    return schema, body


@settings(deadline=None, database=None, max_examples=500)
@given(changed() | JUDGED)
def test_checks_and_description_agree(judged):
    schema, body = judged
    assert accepts(schema, body) == VALIDATORS[schema].is_valid(body)
