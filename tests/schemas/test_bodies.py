"""Every good body is taken and every bad one refused, by the table and by marshmallow alike."""

import copy

import orjson
import pytest
from marshmallow import ValidationError

from gateway.errors import GatewayError, InvalidType, MissingParameter, UnknownParameter
from gateway.schemas import STEERING, strict_json
from tests.schemas.bodies import BAD, GOOD, SCHEMAS
from tests.schemas.chat_good import chat
from tests.schemas.embeddings_bodies import embed
from tests.schemas.responses_bodies import response

SMALLEST = dict(zip(SCHEMAS, (chat(), response(), embed("x")), strict=True))
STEERED = [
    (schema, {**body, name: value}, "unknown_parameter", name, f"Unknown parameter: '{name}'.")
    for schema, body in SMALLEST.items()
    for name, value in zip(sorted(STEERING), ("x", None, 5, "", {}, []), strict=True)
]


def short(value):
    return value.__name__ if isinstance(value, type) else str(value)[:60]


@pytest.mark.parametrize(("schema", "body"), GOOD, ids=short)
def test_good_body_is_taken_untouched(schema, body):
    before = copy.deepcopy(body)
    schema.check(body)
    assert body == before
    assert strict_json.parse(orjson.dumps(body)) == body


@pytest.mark.parametrize(("schema", "body", "code", "param", "message"), BAD + STEERED, ids=short)
def test_bad_body_gets_the_error_that_openai_gives(schema, body, code, param, message):
    before = copy.deepcopy(body)
    with pytest.raises(GatewayError) as caught:
        schema.check(body)
    error = caught.value
    assert (error.status, error.code, error.param, error.message) == (400, code, param, message)
    assert body == before


@pytest.mark.parametrize(("schema", "body"), GOOD, ids=short)
def test_marshmallow_takes_what_the_table_takes(schema, body):
    assert schema().load(body) == body


@pytest.mark.parametrize(
    ("schema", "body", "param"), [row[:2] + row[3:4] for row in BAD], ids=short
)
def test_marshmallow_refuses_what_the_table_refuses_for_the_same_parameter(schema, body, param):
    with pytest.raises(ValidationError) as caught:
        schema().load(body)
    assert param.partition(".")[0].partition("[")[0] in caught.value.messages


@pytest.mark.parametrize(("schema", "body"), [row[:2] for row in STEERED], ids=short)
def test_marshmallow_refuses_to_be_steered_too(schema, body):
    with pytest.raises(ValidationError):
        schema().load(body)


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("body", [{}, {"model": None}, {"model": ""}], ids=short)
def test_missing_model_is_told_first(schema, body):
    for ask in (schema.model_of, schema.check):
        with pytest.raises(MissingParameter) as caught:
            ask({"n": "wrong", "api_key": "x", **body})
        assert caught.value.param == "model"
        assert caught.value.message == "you must provide a model parameter"
    with pytest.raises(ValidationError):
        schema().load({**SMALLEST[schema], "model": None, **body})


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("model", [5, 1.5, True, ["m"], {}], ids=repr)
def test_model_that_is_no_string_is_a_wrong_type(schema, model):
    for ask in (schema.model_of, schema.check):
        with pytest.raises(InvalidType) as caught:
            ask({**SMALLEST[schema], "model": model})
        assert caught.value.param == "model"
        assert caught.value.message.startswith("Invalid type for 'model': expected a string, but")


@pytest.mark.parametrize("schema", SCHEMAS)
def test_model_of_returns_the_name_as_it_is(schema):
    assert schema.model_of({"model": "openai/gpt x\x00"}) == "openai/gpt x\x00"


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_optional_parameter_may_be_null(schema):
    for name, field in schema().fields.items():
        if not field.required:
            schema.check({**SMALLEST[schema], name: None})


def test_steering_comes_after_missing_fields_and_before_types():
    with pytest.raises(MissingParameter):
        SCHEMAS[0].check({"model": "m", "api_key": "x"})
    with pytest.raises(UnknownParameter):
        SCHEMAS[0].check(chat(n="x", api_key="x"))
