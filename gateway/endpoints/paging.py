"""Lists as clients page through them: `limit`, `order`, `after` and `before`."""

import re

from gateway import errors
from gateway.schemas import wording

MOST, USUAL = 100, 20
INTEGER = re.compile(r"-?[0-9]{1,18}")


def page(items, asked):
    """Return a page of items, which have ids and are ordered from the oldest to the newest.

    `asked` are the query's parameters. Raises InvalidType or InvalidValue.
    """
    size = limit(asked.get("limit"))
    items = items if order(asked) == "asc" else items[::-1]
    start = place(items, asked, "after", -1) + 1
    end = place(items, asked, "before", len(items))
    if "before" in asked and "after" not in asked:
        start = max(end - size, 0)
        data, more = items[start:end], start > 0
    else:
        data, more = items[start:end][:size], end - start > size
    return listed(data, more)


def listed(data, more):
    """Return a page's items as a list object; `more` says whether others follow."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": more,
    }


def order(asked):
    """Return asc or desc. Raises InvalidValue."""
    found = asked.get("order", "desc")
    if found not in ("asc", "desc"):
        raise wording.wrong_word((None, "order"), ("asc", "desc"), found)
    return found


def limit(given):
    if given is None:
        return USUAL
    if not INTEGER.fullmatch(given):
        raise wording.wrong_type((None, "limit"), "an integer", given)
    if not 1 <= int(given) <= MOST:
        raise wording.out_of_range((None, "limit"), "integer", 1, MOST, int(given))
    return int(given)


def place(items, asked, name, default):
    """Return the index of the item that a parameter names."""
    id = asked.get(name)
    if id is None:
        return default
    for index, item in enumerate(items):
        if item["id"] == id:
            return index
    raise no_item(id, name)


def no_item(id, name):
    """Return the error for a parameter that names an item which is not there."""
    return errors.InvalidValue(f"No item with id '{wording.shown(id)}' found.", name)
