"""The kinds of field that a body is declared with: marshmallow's own, but strict.

None of them turns a value into another: "5" is no integer and 1 is no boolean, only an integer
is a fine decimal. What is not required may be null, because clients write out the parameters that
they don't set.
"""

from marshmallow import INCLUDE, Schema, ValidationError, fields, validate


class Open(Schema):
    """An object that may hold more than what is declared."""

    class Meta:
        unknown = INCLUDE
        register = False


class Strict:
    """Take the Python types in `kinds` as they are and refuse all others.

    `noun` and `nouns` are what an error message calls one and several of them.
    """

    kinds = ()
    noun = nouns = ""

    def __init__(self, *args, required=False, allow_none=None, **kwargs):
        allow_none = not required if allow_none is None else allow_none
        super().__init__(*args, required=required, allow_none=allow_none, **kwargs)

    @property
    def forms(self):
        """What an error message offers, a noun for each form that a value may take."""
        return [self.noun]

    @property
    def expected(self):
        *rest, last = self.forms
        forms = f"{', '.join(rest)} or {last}" if rest else last
        article = "an" if forms[0] in "aeio" else "a"
        return f"one of {article} {forms}" if rest else f"{article} {forms}"

    def _deserialize(self, value, attr, data, **kwargs):
        if type(value) not in self.kinds:
            raise ValidationError(f"expected {self.expected}")
        return value


class Text(Strict, fields.String):
    kinds, noun, nouns = (str,), "string", "strings"

    def __init__(self, maximum=None, **kwargs):
        self.maximum = maximum
        super().__init__(validate=validate.Length(max=maximum) if maximum else None, **kwargs)


class Word(Strict, fields.String):
    """One of a few words. `also` are other servers' words, taken but not told of."""

    kinds, noun, nouns = (str,), "string", "strings"

    def __init__(self, *words, also=(), **kwargs):
        self.words, self.taken = words, frozenset((*words, *also))
        super().__init__(validate=validate.OneOf((*words, *also)), **kwargs)


class Flag(Strict, fields.Boolean):
    kinds, noun, nouns = (bool,), "boolean", "booleans"


class Whole(Strict, fields.Integer):
    kinds, noun, nouns = (int,), "integer", "integers"

    def __init__(self, minimum=None, maximum=None, **kwargs):
        self.minimum, self.maximum = minimum, maximum
        super().__init__(validate=validate.Range(minimum, maximum), **kwargs)


class Number(Strict, fields.Float):
    kinds, noun, nouns = (int, float), "decimal", "decimals"

    def __init__(self, minimum=None, maximum=None, **kwargs):
        self.minimum, self.maximum = minimum, maximum
        super().__init__(validate=validate.Range(minimum, maximum), **kwargs)


class Record(Strict, fields.Nested):
    """An object of a schema's, or of the fields given, or, with neither, any object at all."""

    kinds, noun, nouns = (dict,), "object", "objects"

    def __init__(self, schema=None, **kwargs):
        if not isinstance(schema, type):
            schema = Open.from_dict(schema or {})
        super().__init__(schema, **kwargs)

    def _deserialize(self, value, attr, data, **kwargs):
        super()._deserialize(value, attr, data)
        return fields.Nested._deserialize(self, value, attr, data, **kwargs)


class Variants(Strict, fields.Field):
    """An object whose `tag` says which of the schemas in `known` it is of; `other` if none."""

    kinds, noun, nouns = (dict,), "object", "objects"

    def __init__(self, tag, known, other, **kwargs):
        self.tag, self.known, self.other = tag, known, other
        super().__init__(**kwargs)

    def absent(self, value):
        """Return the tag to stand in where there is none or a null."""

    def _deserialize(self, value, attr, data, **kwargs):
        super()._deserialize(value, attr, data)
        tag = value.get(self.tag)
        tag = self.absent(value) if tag is None else tag
        schema = self.known.get(tag, self.other) if type(tag) is str else self.other
        return schema().load(value)


class Map(Strict, fields.Dict):
    """An object whose keys are the client's own and whose values are all of one field."""

    kinds, noun, nouns = (dict,), "object", "objects"

    def __init__(self, values, **kwargs):
        super().__init__(values=_never_null(values), **kwargs)

    def _deserialize(self, value, attr, data, **kwargs):
        super()._deserialize(value, attr, data)
        return fields.Dict._deserialize(self, value, attr, data, **kwargs)


class Items(Strict, fields.List):
    """An array whose items are all of one field; `minimum` is 0 or 1."""

    kinds = (list,)

    def __init__(self, inner, minimum=0, maximum=None, **kwargs):
        self.minimum, self.maximum = minimum, maximum
        length = validate.Length(min=minimum, max=maximum)
        super().__init__(_never_null(inner), validate=length, **kwargs)

    @property
    def noun(self):
        return f"array of {self.inner.nouns}"

    @property
    def nouns(self):
        return f"arrays of {self.inner.nouns}"

    def _deserialize(self, value, attr, data, **kwargs):
        super()._deserialize(value, attr, data)
        return fields.List._deserialize(self, value, attr, data, **kwargs)


class Either(Strict, fields.Field):
    """A field of several JSON types, each of which has a field of its own."""

    def __init__(self, *options, **kwargs):
        self.options = [_never_null(option) for option in options]
        self.kinds = tuple(kind for option in options for kind in option.kinds)
        super().__init__(**kwargs)

    @property
    def forms(self):
        return [form for option in self.options for form in option.forms]

    def option_for(self, value):
        """Return the option that takes values of this one's type, or the field itself."""
        return next((option for option in self.options if type(value) in option.kinds), self)

    def _deserialize(self, value, attr, data, **kwargs):
        super()._deserialize(value, attr, data)
        return self.option_for(value).deserialize(value, attr, data, **kwargs)


class Uniform(Items):
    """An array whose items are all of one of the options: the first item's."""

    def __init__(self, *options, **kwargs):
        super().__init__(Either(*options), **kwargs)

    @property
    def forms(self):
        return [f"array of {option.nouns}" for option in self.inner.options]

    def _deserialize(self, value, attr, data, **kwargs):
        Strict._deserialize(self, value, attr, data)
        inner = self.inner.option_for(value[0]) if value else self.inner
        return Items(inner)._deserialize(value, attr, data, **kwargs)


def _never_null(field):
    # An item is there or it is not: what may be left out is the whole array.
    field.allow_none = False
    return field
