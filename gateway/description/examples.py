"""Bodies and lines to paste, by operation; MODEL stands for a model of the reader's own."""

import json

MODEL = "MODEL"

CHAT = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}
RESPONSE = {"model": MODEL, "input": "What is the capital of France?"}
EMBEDDING = {"model": MODEL, "input": ["one text", "another one"]}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
BODIES = {
    "createChatCompletion": {
        "whole": CHAT,
        "streamed": {**CHAT, "stream": True, "stream_options": {"include_usage": True}},
        "with a tool": {**CHAT, "tools": [TOOL], "tool_choice": "auto"},
    },
    "createResponse": {
        "whole": RESPONSE,
        "streamed": {**RESPONSE, "stream": True},
        "in the background": {**RESPONSE, "background": True},
    },
    "createEmbedding": {"floats": {**EMBEDDING, "encoding_format": "float"}, "plain": EMBEDDING},
}
PYTHON = {
    "createChatCompletion": """\
messages = [{"role": "user", "content": "What is the capital of France?"}]
stream = client.chat.completions.create(model="MODEL", messages=messages, stream=True)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="")""",
    "createResponse": """\
first = client.responses.create(model="MODEL", input="What is the capital of France?")
print(first.output_text)
then = client.responses.create(
    model="MODEL", input="And of Italy?", previous_response_id=first.id
)""",
    "retrieveResponse": 'print(client.responses.retrieve("ID").status)',
    "deleteResponse": 'client.responses.delete("ID")',
    "listResponseItems": 'print(client.responses.input_items.list("ID").data)',
    "cancelResponse": 'print(client.responses.cancel("ID").status)',
    "createEmbedding": """\
found = client.embeddings.create(model="MODEL", input=["one text", "another one"])
print(len(found.data[0].embedding))""",
    "listModels": "print([model.id for model in client.models.list()])",
    "retrieveModel": 'print(client.models.retrieve("MODEL").owned_by)',
    "listJobs": 'print(client.get("/jobs?limit=5", cast_to=object)["data"])',
    "retrieveJob": 'print(client.get("/jobs/ID?wait=60", cast_to=object)["status"])',
    "cancelJob": 'print(client.post("/jobs/ID/cancel", cast_to=object)["status"])',
}
CLIENT = """\
from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
"""


def bodies(name):
    return {label: {"value": body} for label, body in BODIES[name].items()}


def curl(method, path, name, secured):
    """Return a shell command that asks for an operation."""
    url = path.replace("{id}", "ID").replace("{model}", MODEL)
    base = "$OPENAI_BASE_URL" if secured else "https://gateway.example.com"
    lines = ["curl -sS" + ("" if method == "GET" or name in BODIES else f" -X {method}")]
    lines[0] += f' "{base}{url.removeprefix("/v1")}"'
    if secured:
        lines.append('-H "Authorization: Bearer $OPENAI_API_KEY"')
    if name in BODIES:
        body = next(iter(BODIES[name].values()))
        lines += ['-H "Content-Type: application/json"', f"-d '{json.dumps(body)}'"]
    return " \\\n  ".join(lines)


def python(name):
    """Return the same in Python, or nothing where no SDK is needed."""
    return PYTHON.get(name)
