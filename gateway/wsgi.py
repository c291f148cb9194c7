"""The WSGI application, for servers that name it by module."""

from gateway import create_app, server

app = create_app(server.current())
