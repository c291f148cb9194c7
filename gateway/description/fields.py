"""Our kinds of field as JSON Schema: apispec knows marshmallow's, and is told the rest here.

Objects that a tag picks become components of their own, all others are written where they stand.
"""

from functools import singledispatch

from gateway.schemas import fields
from gateway.schemas.items import InputItem
from gateway.schemas.strict_json import LARGEST_WHOLE, SMALLEST_WHOLE

NULL, NOTHING = {"type": "null"}, {"not": {}}
# Two modules may have a part or a tool of the same name.
PREFIXES = {"chat": "Chat", "messages": "Chat", "items": "Response", "responses": "Response"}


def attributes(converter, field, ret):
    """Return what apispec is to add to, or, where it can't know the field, to put for `ret`."""
    forms = alternatives(field, converter)
    if forms is None:
        return bounds(field)
    ret.clear()
    forms = forms + [NULL] if field.allow_none else forms
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def bounds(field):
    """Return the bounds of an integer: its own, or those of what strict JSON can hold."""
    if not isinstance(field, fields.Whole):
        return {}
    low, high = field.minimum, field.maximum
    return {
        "minimum": SMALLEST_WHOLE if low is None else max(low, SMALLEST_WHOLE),
        "maximum": LARGEST_WHOLE if high is None else min(high, LARGEST_WHOLE),
    }


@singledispatch
def alternatives(field, converter):
    """Return the schemas of the forms that a value may take; None if apispec knows the field."""


@alternatives.register
def _(field: fields.Either, converter):
    return [form for option in field.options for form in forms_of(option, converter)]


def forms_of(field, converter):
    found = converter.field2property(field)
    return found.get("anyOf", [found])


@alternatives.register
def _(field: fields.Uniform, converter):
    size = {"minItems": field.minimum, "maxItems": field.maximum}
    size = {name: value for name, value in size.items() if value}
    return [
        {"type": "array", "items": converter.field2property(option), **size}
        for option in field.inner.options
    ]


@alternatives.register
def _(field: fields.Variants, converter):
    return tagged(field.known, field.tag, converter) + others(field, converter)


@alternatives.register
def _(field: InputItem, converter):
    # The tag may be left out: then it is a message, or, without a role, a reference.
    known = dict(field.known)
    message = variant(known.pop("message"), field.tag, ["message", None], converter)
    bare = converter.schema2jsonschema(known["item_reference"]())
    bare["properties"][field.tag] = NULL
    bare["properties"]["role"] = NOTHING
    rest = tagged(known, field.tag, converter)
    return [message, *rest, bare, *others(field, converter)]


def tagged(known, tag, converter):
    """Return references to the known variants; one schema may be that of several names."""
    found = {}
    for name, schema in known.items():
        found.setdefault(schema, []).append(name)
    return [variant(schema, tag, names, converter) for schema, names in found.items()]


def variant(schema, tag, names, converter):
    """Return a reference to a schema whose tag is one of the names; None: it may be left out."""
    found = converter.schema2jsonschema(schema())
    found["properties"] = {tag: None, **found["properties"]} | {tag: {"enum": names}}
    if None not in names:
        found["required"] = sorted({*found.get("required", ()), tag})
    module = schema.__module__.rpartition(".")[2]
    name = PREFIXES[module] + schema.__name__
    components = converter.spec.components
    if name not in components.schemas:
        components.schema(name, found)
    elif components.schemas[name]["properties"][tag] != {"enum": names}:
        raise ValueError(f"two objects would be described as {name}")
    return {"$ref": f"#/components/schemas/{name}"}


def others(field, converter):
    """Return the schema of what none of the known tags is on; none where nothing else may be."""
    declared = field.other().fields[field.tag]
    if isinstance(declared, fields.Word) and declared.taken <= set(field.known):
        return []
    found = converter.schema2jsonschema(field.other())
    found["properties"][field.tag] = {"type": "string", "not": {"enum": list(field.known)}}
    return [found]
