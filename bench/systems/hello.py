"""A Flask view that says hello, under the same worker: the least that a gateway in Flask costs."""

import importlib.metadata
import sys

from flask import Flask

from bench.systems.base import ROOT, System

app = Flask(__name__)


@app.post("/v1/chat/completions")
def hello():
    return {"message": "The capital of France is Paris."}


@app.get("/healthz")
def live():
    return {"status": "ok"}


class Hello(System):
    name = "hello"
    relays = False
    settle = 0.05

    def version(self):
        found = (f"{name} {importlib.metadata.version(name)}" for name in ("gunicorn", "gevent"))
        return f"{importlib.metadata.version('flask')} ({', '.join(found)})"

    def command(self):
        return [
            sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.port}",
            "--workers", "1", "--worker-class", "gevent", "--worker-connections", "2200",
            "--keep-alive", "75", "--http-parser", "python", "--no-control-socket",
            "bench.systems.hello:app",
        ]  # fmt: skip

    def environ(self):
        return {"PYTHONPATH": str(ROOT)}
