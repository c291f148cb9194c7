"""The whole description, put together."""

import copy
from functools import cache
from importlib import metadata

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from gateway.description import answers, bodies, fields, headers
from gateway.description.operations import PATHS

ABOUT = """\
OpenAI's API over the models of this gateway: the official SDKs need nothing but its base URL and a
key. Every error is OpenAI's error object, and `x-should-retry` says whether another try may help.
"""
BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "`Authorization: Bearer <key>`, in this header alone.",
}


@cache
def document():
    """Return the OpenAPI document as a dict."""
    plugin = MarshmallowPlugin(schema_name_resolver=lambda schema: None)
    spec = APISpec(
        title="Klintero Gateway",
        version=metadata.version("klintero-gateway"),
        openapi_version="3.1.1",
        plugins=[plugin],
        info={"description": ABOUT, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": "/", "description": "The gateway that answers this."}],
        security=[{"key": []}],
    )
    plugin.converter.add_attribute_function(fields.attributes)
    fill(spec, plugin.converter)
    return spec.to_dict()


def fill(spec, converter):
    spec.components.security_scheme("key", BEARER)
    for name, found in headers.WRITTEN.items():
        spec.components.header(name, found)
    for name, found in headers.READ.items():
        spec.components.parameter(name, found["in"], found)
    for name, found in answers.SCHEMAS.items():
        spec.components.schema(name, found)
    bodies.put(spec, converter)
    for path, operations in PATHS.items():
        spec.path(path, operations=copy.deepcopy(operations))
