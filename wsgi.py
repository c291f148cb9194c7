"""The WSGI application of the checkout."""

from gateway.wsgi import app

__all__ = ["app"]
