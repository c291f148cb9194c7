"""gunicorn reads this by itself when it is started in the checkout."""

from gevent import monkey

monkey.patch_all()

from gateway import server  # noqa: E402

globals().update(server.settings("wsgi:app"))
