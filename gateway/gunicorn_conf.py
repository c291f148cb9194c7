"""What `gateway serve` gives gunicorn: the same as gunicorn.conf.py of the checkout."""

from gevent import monkey

monkey.patch_all()

from gateway import server  # noqa: E402

globals().update(server.settings("gateway.wsgi:app"))
