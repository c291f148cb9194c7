"""What a valid body is: one schema per endpoint, declared with marshmallow, walked by a table."""

from marshmallow import ValidationError, validates_schema

from gateway.errors import MissingParameter, UnknownParameter
from gateway.schemas import table, wording
from gateway.schemas.fields import Open, Text

# Some gateways let a client steer the upstream connection with these. Here only the
# configuration does.
STEERING = frozenset(
    ("api_base", "api_key", "api_version", "base_url", "custom_llm_provider", "extra_headers")
)


class Payload(Open):
    """A body that names a model."""

    model = Text(required=True)

    @classmethod
    def model_of(cls, body: dict) -> str:
        """Return the name of the model asked for, or raise MissingParameter or InvalidType."""
        model = body.get("model")
        if model is None or model == "":
            raise MissingParameter("model", "you must provide a model parameter")
        if type(model) is not str:
            raise wording.wrong_type((None, "model"), "a string", model)
        return model

    @classmethod
    def check(cls, body: dict) -> None:
        """Raise the first fault of a body: missing fields, then types, then bounds."""
        cls.model_of(body)
        faults = {}
        table.walk_of(cls)(body, None, faults)
        if not STEERING.isdisjoint(body):
            raise UnknownParameter(next(name for name in body if name in STEERING))
        if faults:
            raise faults[min(faults)]

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _named_and_unsteered(self, data, original, **kwargs):
        # What check() asks beyond the fields, for marshmallow's own load().
        if not original.get("model") or not STEERING.isdisjoint(original):
            raise ValidationError("no model, or a parameter that steers the connection")
