"""The table of checks that is made once from a schema and that every body is walked by.

marshmallow's own load() takes seconds where this takes milliseconds. For each field the table
holds, by JSON type, what else is to be checked of a value: {"n": {int: in_range, NoneType: None}}.
A type that is not there is a fault; None means that the type says it all.

A check is called with a value, its place and the faults found so far. Of each rank only the first
fault is kept. A missing field comes before all of them, so that is raised at once.
"""

from functools import cache, singledispatch

from gateway.schemas import fields, wording

TYPE, BOUND = 1, 2

_WRONG = object()


class Kinds(dict):
    """The checks of one field by JSON type, and the words for what the field expects.

    `plain` are its types where no check goes deeper than the type.
    """

    def __init__(self, field):
        super().__init__(_checks(field))
        if field.allow_none:
            self[type(None)] = None
        self.expected = field.expected
        self.plain = None if any(self.values()) else frozenset(self)


@cache
def walk_of(schema):
    """Return the check of a schema class, to be called with an object, its place and faults."""
    declared = schema().fields
    rows = {name: Kinds(field) for name, field in declared.items()}
    required = [name for name, field in declared.items() if field.required]

    def walk(value, place, faults):
        for name in required:
            if name not in value:
                raise wording.missing((place, name))
        for name, found in value.items():
            kinds = rows.get(name)
            if kinds is not None:
                check = kinds.get(type(found), _WRONG)
                if check is not None:
                    _go_on(check, kinds, found, (place, name), faults)

    return walk


def _go_on(check, kinds, found, place, faults):
    if check is not _WRONG:
        check(found, place, faults)
    elif TYPE not in faults:
        faults[TYPE] = wording.wrong_type(place, kinds.expected, found)


@singledispatch
def _checks(field):
    return dict.fromkeys(field.kinds)


@_checks.register
def _(field: fields.Text):
    high = field.maximum

    def short(value, place, faults):
        if len(value) > high and BOUND not in faults:
            faults[BOUND] = wording.too_long(place, "string", high, len(value))

    return {str: None if high is None else short}


@_checks.register
def _(field: fields.Word):
    taken = field.taken

    def known(value, place, faults):
        if value not in taken and BOUND not in faults:
            faults[BOUND] = wording.wrong_word(place, field.words, value)

    return {str: known}


@_checks.register(fields.Whole)
@_checks.register(fields.Number)
def _(field):
    low, high = field.minimum, field.maximum

    def in_range(value, place, faults):
        below = low is not None and value < low
        if (below or (high is not None and value > high)) and BOUND not in faults:
            faults[BOUND] = wording.out_of_range(place, field.noun, low, high, value)

    return dict.fromkeys(field.kinds, None if low is None and high is None else in_range)


@_checks.register
def _(field: fields.Record):
    return {dict: walk_of(field.nested) if field.schema.fields else None}


@_checks.register
def _(field: fields.Variants):
    tag, absent = field.tag, field.absent
    known = {name: (walk_of(schema), _partner(schema, tag)) for name, schema in field.known.items()}
    other = walk_of(field.other), None

    def walk(value, place, faults):
        name = value.get(tag)
        if type(name) is str:
            check, partner = known.get(name, other)
            # Most messages and parts are a tag and one more string: that says it all.
            if partner and len(value) == 2 and type(value.get(partner)) is str:
                return
        else:
            check, _ = known.get(absent(value), other) if name is None else other
        check(value, place, faults)

    return {dict: walk}


def _partner(schema, tag):
    """Return the field that makes a whole object with the tag when both are strings, or None."""
    required = {name: field for name, field in schema().fields.items() if field.required}
    plain = [name for name, field in required.items() if Kinds(field).get(str, _WRONG) is None]
    if len(required) == len(plain) == 2 and tag in plain:
        return next(name for name in plain if name != tag)


@_checks.register
def _(field: fields.Map):
    kinds = Kinds(field.value_field)

    def walk(value, place, faults):
        _each(value.items(), kinds, place, faults)

    return {dict: walk}


@_checks.register
def _(field: fields.Items):
    kinds = Kinds(field.inner)
    return {list: _items(field, lambda value: kinds)}


@_checks.register
def _(field: fields.Uniform):
    undecided = Kinds(field.inner)
    options = [Kinds(option) for option in field.inner.options]
    by_kind = {kind: kinds for kinds in options for kind in kinds}
    return {list: _items(field, lambda value: by_kind.get(type(value[0]), undecided))}


@_checks.register
def _(field: fields.Either):
    return {kind: check for option in field.options for kind, check in Kinds(option).items()}


def _items(field, kinds_for):
    low, high = field.minimum, field.maximum

    def walk(value, place, faults):
        if high is not None and len(value) > high:
            if BOUND not in faults:
                faults[BOUND] = wording.too_long(place, "array", high, len(value))
            # It is refused whatever else it holds: the rest is not worth the time.
            value = value[:high]
        if value:
            kinds = kinds_for(value)
            if not (kinds.plain and kinds.plain.issuperset(map(type, value))):
                _each(enumerate(value), kinds, place, faults)
        elif low and BOUND not in faults:
            faults[BOUND] = wording.empty_array(place)

    return walk


def _each(pairs, kinds, place, faults):
    for step, found in pairs:
        check = kinds.get(type(found), _WRONG)
        if check is not None:
            _go_on(check, kinds, found, (place, step), faults)
