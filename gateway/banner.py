"""What a person who starts the gateway by hand is shown: where it is, a key, lines to paste."""

import sys

QUESTION = "What is the capital of France?"


def show(settings, environ, out=None):
    """Print the banner if this start made a key for it."""
    key = environ.get("GATEWAY_START_KEY")
    if key and settings.models:
        print(text(base_url(settings.server.bind), key, next(iter(settings.models))),
              file=out or sys.stdout, flush=True)  # fmt: skip


def base_url(bind):
    host, _, port = bind.rpartition(":")
    return f"http://{'127.0.0.1' if host in ('', '0.0.0.0') else host}:{port}/v1"


def text(url, key, model):
    ask = f'"model": "{model}", "temperature": 0, '
    ask += f'"messages": [{{"role": "user", "content": "{QUESTION}"}}]'
    return f"""
Klintero Gateway is ready.

  Base URL  {url}
  API key   {key}
  Model     {model}

The key works until this process ends; `gateway keys create NAME` makes one that lasts.

From a shell:

curl -sS {url}/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{{ask}}}'

From Python (pip install openai):

from openai import OpenAI
client = OpenAI(base_url="{url}", api_key="{key}")
messages = [{{"role": "user", "content": "{QUESTION}"}}]
answer = client.chat.completions.create(model="{model}", messages=messages, temperature=0)
print(answer.choices[0].message.content)

Ctrl-C ends everything.
"""
