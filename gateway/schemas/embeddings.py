"""What a valid body of POST /v1/embeddings is (CreateEmbeddingRequest)."""

from gateway.schemas import Payload
from gateway.schemas.fields import Either, Items, Text, Uniform, Whole, Word

MOST_INPUTS = 2048


class Embeddings(Payload):
    input = Either(
        Text(),
        Uniform(Text(), Whole(), Items(Whole(), minimum=1), minimum=1, maximum=MOST_INPUTS),
        required=True,
    )
    dimensions = Whole(minimum=1)
    encoding_format = Word("float", "base64")
    user = Text()
