"""The items that a stored response was made from, page by page."""

import re

import pytest

from tests.endpoints.refused import refused
from tests.endpoints.storing import (  # noqa: F401
    GOOD,
    RESPONSES,
    answering,
    ask,
    client_of,
    get,
    key_client,
    other_client,
    shared_app,
    shared_upstream,
    start_app,
    user,
)


def listing(client, id, query=""):
    answer = get(client, id, f"/input_items?{query}")
    assert answer.status_code == 200, answer.data
    assert set(answer.json) == {"object", "data", "first_id", "last_id", "has_more"}
    assert answer.json["object"] == "list"
    return answer.json


def test_text_is_listed_as_a_message(client):
    found = listing(client, ask(client)["id"])

    (item,) = found["data"]
    assert re.fullmatch("msg_[0-9a-f]{32}", item.pop("id"))
    assert item == {
        "type": "message", "role": "user", "status": "completed",
        "content": [{"type": "input_text", "text": GOOD["input"]}],
    }  # fmt: skip
    assert found["first_id"] == found["last_id"] and found["has_more"] is False


def test_listing_twice_gives_the_same_ids(client):
    id = ask(client, input=[user("a"), user("b"), {"type": "odd", "x": 1}])["id"]
    assert listing(client, id) == listing(client, id)


def test_earlier_turns_are_listed_too(client):
    first = ask(client, input="One.")
    id = ask(client, input="Two.", previous_response_id=first["id"])["id"]
    found = listing(client, id, "order=asc")["data"]

    assert [item["content"][0]["text"] for item in found] == ["One.", "One.", "Two."]
    assert [item["role"] for item in found] == ["user", "assistant", "user"]
    assert len({item["id"] for item in found}) == 3


def test_response_without_input_lists_nothing(client, upstream):
    upstream.enqueue(answering())
    body = {"model": "gpt-test", "prompt": {"id": "pmpt_1"}}
    id = client.post(RESPONSES, json=body).json["id"]
    assert listing(client, id) == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False,
    }  # fmt: skip


@pytest.fixture(scope="module")
def long(app):
    """The id of a response of 45 input items, which say 0 to 44, and its pages of 20 by query."""
    client = client_of(app)
    return ask(client, input=[user(str(number)) for number in range(45)])["id"]


def told(page):
    return [int(item["content"][0]["text"]) for item in page["data"]]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 20, 44, 45, 100])
def test_pages_come_to_the_whole(client, long, order, limit):
    seen, query = [], ""
    while True:
        page = listing(client, long, f"order={order}&limit={limit}{query}")
        seen += told(page)
        assert len(page["data"]) <= limit
        assert (page["first_id"], page["last_id"]) == (
            page["data"][0]["id"],
            page["data"][-1]["id"],
        )
        if not page["has_more"]:
            break
        query = f"&after={page['last_id']}"
    assert seen == (list(range(45)) if order == "asc" else list(range(44, -1, -1)))


def test_page_has_20_items_the_newest_first(client, long):
    page = listing(client, long)
    assert told(page) == list(range(44, 24, -1)) and page["has_more"]


def test_page_before_an_item_ends_right_before_it(client, long):
    page = listing(client, long, "order=asc&limit=10")
    after = listing(client, long, f"order=asc&limit=10&after={page['last_id']}")
    before = listing(client, long, f"order=asc&limit=10&before={after['first_id']}")
    assert before["data"] == page["data"] and before["has_more"] is False
    between = f"order=asc&after={page['first_id']}&before={page['last_id']}"
    assert told(listing(client, long, between)) == list(range(1, 9))


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("limit=0", "integer_below_min_value", "limit"),
        ("limit=-1", "integer_below_min_value", "limit"),
        ("limit=101", "integer_above_max_value", "limit"),
        ("limit=x", "invalid_type", "limit"),
        ("limit=", "invalid_type", "limit"),
        ("limit=1.5", "invalid_type", "limit"),
        ("limit=" + "9" * 5000, "invalid_type", "limit"),
        ("limit=%D9%A3", "invalid_type", "limit"),
        ("order=up", "invalid_value", "order"),
        ("after=msg_x", "invalid_value", "after"),
        ("before=msg_x", "invalid_value", "before"),
        ("after=%00%ff", "invalid_value", "after"),
    ],
)
def test_bad_query_is_named(client, long, query, code, param):
    refused(get(client, long, f"/input_items?{query}"), 400, code, param)


def test_include_is_taken(client, long):
    query = "include[]=message.input_image.image_url&include=reasoning.encrypted_content"
    assert listing(client, long, query)["data"]
