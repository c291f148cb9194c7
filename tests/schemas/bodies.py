"""All the good and all the bad bodies, each with the schema that is to judge it."""

from gateway.schemas.chat import ChatCompletion
from gateway.schemas.embeddings import Embeddings
from gateway.schemas.responses import CreateResponse
from tests.schemas.chat_bad import BAD_CHAT
from tests.schemas.chat_good import GOOD_CHAT
from tests.schemas.embeddings_bodies import BAD_EMBEDDINGS, GOOD_EMBEDDINGS
from tests.schemas.responses_bodies import BAD_RESPONSES, GOOD_RESPONSES

SCHEMAS = [ChatCompletion, CreateResponse, Embeddings]
GOOD = [
    (schema, body)
    for schema, bodies in zip(SCHEMAS, (GOOD_CHAT, GOOD_RESPONSES, GOOD_EMBEDDINGS), strict=True)
    for body in bodies
]
BAD = [
    (schema, *row)
    for schema, rows in zip(SCHEMAS, (BAD_CHAT, BAD_RESPONSES, BAD_EMBEDDINGS), strict=True)
    for row in rows
]
