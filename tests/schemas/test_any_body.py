"""Whatever JSON is put into known keys: a body is taken or refused, never more."""

import copy

from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import ValidationError

from gateway.errors import GatewayError
from gateway.schemas.chat import ChatCompletion
from gateway.schemas.embeddings import Embeddings
from gateway.schemas.items import ITEMS
from gateway.schemas.messages import PARTS, ROLES
from gateway.schemas.responses import CreateResponse

KEYS = (
    "role content type text name id function custom tool_calls tool_call_id arguments call_id "
    "output summary image_url url input_audio file refusal format json_schema schema mode tools"
).split()
WORDS = [*ROLES, *PARTS, *ITEMS, "function", "custom", "json_schema", "input_text", "auto", "x"]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
    | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=15,
)
MESSAGES = st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5), max_size=3)


def bodies(schema):
    names = st.sampled_from(sorted(schema().fields)) | st.text(max_size=3)
    filled = st.fixed_dictionaries(
        {"model": st.just("m")} | {n: MESSAGES | VALUES for n in TAKERS[schema]}
    )
    return st.builds(
        lambda body, more: more | body, filled, st.dictionaries(names, VALUES, max_size=4)
    )


TAKERS = {ChatCompletion: ["messages"], CreateResponse: ["input"], Embeddings: ["input"]}
JUDGED = st.one_of(*(st.tuples(st.just(schema), bodies(schema)) for schema in TAKERS))


def accepts(schema, body):
    try:
        schema.check(body)
    except GatewayError as error:
        assert error.status == 400
        assert error.message.isprintable()
        assert error.param
        return False
    return True


def marshmallow_accepts(schema, body):
    try:
        schema().load(body)
    except ValidationError:
        return False
    return True


@settings(deadline=None, database=None, max_examples=300)
@given(JUDGED)
def test_table_and_marshmallow_agree_and_nothing_else_is_raised(judged):
    schema, body = judged
    before = copy.deepcopy(body)
    assert accepts(schema, body) == marshmallow_accepts(schema, body)
    assert body == before


@settings(deadline=None, database=None)
@given(st.sampled_from(list(TAKERS)), st.dictionaries(st.text(max_size=6), VALUES))
def test_any_object_is_taken_or_refused(schema, body):
    accepts(schema, body)
