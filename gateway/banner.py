"""What a person who starts the gateway by hand is shown: where it is, a key, lines to paste."""

import json
import shlex
import sys

QUESTION = "What is the capital of France?"
LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}


def show(settings, environ, out=None):
    """Print the banner if this start made a key for it."""
    key = environ.get("GATEWAY_START_KEY")
    if key and settings.models:
        found = text(settings.server.bind, key, next(iter(settings.models)))
        print(found, file=out or sys.stdout, flush=True)


def text(bind, key, model):
    """Return what is shown for a gateway at `bind`; the lines to paste work as they are."""
    url, socket = base_url(bind), bind.removeprefix("unix:") if bind.startswith("unix:") else None
    lines = [
        "Klintero Gateway is ready.",
        f"  Base URL  {url}{f' on the socket {socket}' if socket else ''}\n"
        f"  API key   {key}\n"
        f"  Model     {model}",
        "The key works until this process ends; `gateway keys create NAME` makes one that lasts.",
        f"From a shell:\n\n{shell(url, key, model, socket)}",
    ]
    if not socket:
        lines.append(f"From Python (pip install openai):\n\n{python(url, key, model)}")
    return "\n" + "\n\n".join([*lines, "Ctrl-C ends everything."]) + "\n"


def base_url(bind):
    """Return the base URL that reaches a bind from the same machine."""
    if bind.startswith("unix:"):
        return "http://localhost/v1"
    host, _, port = bind.rpartition(":")
    return f"http://{LOOPBACK.get(host, host)}:{port}/v1"


def shell(url, key, model, socket):
    messages = [{"role": "user", "content": QUESTION}]
    body = json.dumps({"model": model, "temperature": 0, "messages": messages})
    through = f"--unix-socket {shlex.quote(socket)} " if socket else ""
    return f"""\
curl -sS {through}{url}/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d {shlex.quote(body)}"""


def python(url, key, model):
    return f"""\
from openai import OpenAI
client = OpenAI(base_url="{url}", api_key="{key}")
messages = [{{"role": "user", "content": "{QUESTION}"}}]
answer = client.chat.completions.create(model={json.dumps(model)}, messages=messages, temperature=0)
print(answer.choices[0].message.content)"""
