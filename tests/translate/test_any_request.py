"""Requests for responses with odd values in odd places: translated, or refused by a name."""

import copy
import random

import pytest

from gateway import errors
from gateway.schemas.responses import CreateResponse
from gateway.translate.messages import ODD
from gateway.translate.request import to_chat
from tests.schemas.responses_bodies import GOOD_RESPONSES
from tests.translate.test_request import PARAMETERS, REFUSED

BODIES = GOOD_RESPONSES + [
    {"model": "m", "input": "Hello", **fields} for fields, _ in PARAMETERS + REFUSED
]
VALUES = [None, True, 5, 1.5, "", "x", "input_audio", "message", [], [None], [5], ["x"], [{}], {}]
NAMES = """
allowed_callers annotations arguments audio call_id content context definition description detail
file_data file_id file_url filename format functions id image_url input_audio logprobs max_tokens
messages modalities mode n name namespace output parameters prompt_cache_breakpoint refusal role
schema status strict summary syntax text tools type verbosity
""".split()


def objects(value):
    """Return all the objects in a JSON value."""
    inner = value.values() if isinstance(value, dict) else value
    found = [each for one in inner if isinstance(one, dict | list) for each in objects(one)]
    return [value, *found] if isinstance(value, dict) else found


@pytest.mark.parametrize("seed", range(10))
def test_no_value_that_is_valid_breaks_the_translation(seed):
    rand = random.Random(seed)
    for _ in range(3000):
        body = copy.deepcopy(rand.choice(BODIES))
        for _ in range(rand.randint(1, 3)):
            place = rand.choice(objects(body))
            place[rand.choice([*place, *NAMES])] = copy.deepcopy(rand.choice(VALUES))
        try:
            CreateResponse.check(body)
            to_chat(body)
        except errors.InvalidRequest as error:
            assert ODD not in str(error), body
