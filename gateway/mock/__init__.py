"""A scripted OpenAI-compatible upstream on real sockets: `gateway mock`, and what tests call.

    wire      steps on a connection: bytes, pauses, FIN, RST
    request   what is read off a connection
    answers   from a request to steps: whole replies, streams, raw bytes
    bodies    OpenAI's objects
    openai    right answers
    checks    refusals and the list of models
    bad_…     wrong answers, as rows of name and effect
    faults    the rows, found by a model's name
    server    ScriptedUpstream

It imports nothing else of the gateway, so that it cannot share its mistakes.
"""

from gateway.mock import answers, bodies
from gateway.mock.answers import (
    Bare,
    edited,
    error,
    hang,
    json,
    raw,
    redirect,
    sse,
    stream,
    trickle,
    whole,
)
from gateway.mock.faults import FAULTS, describe, examples, fault
from gateway.mock.foreground import main
from gateway.mock.openai import chat, embeddings, models, reply, responses
from gateway.mock.server import ScriptedUpstream
from gateway.mock.wire import FIN, HANG, RST

__all__ = [
    "FAULTS",
    "FIN",
    "HANG",
    "RST",
    "Bare",
    "ScriptedUpstream",
    "answers",
    "bodies",
    "chat",
    "describe",
    "edited",
    "embeddings",
    "error",
    "examples",
    "fault",
    "hang",
    "json",
    "main",
    "models",
    "raw",
    "redirect",
    "reply",
    "responses",
    "sse",
    "stream",
    "trickle",
    "whole",
]
