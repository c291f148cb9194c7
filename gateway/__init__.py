"""Klintero Gateway: one OpenAI-compatible base URL in front of many model servers."""


def create_app(settings=None):
    """Return the WSGI application; settings come from the environment if left out."""
    # Imported here: gunicorn's master reads this package before it patches, and needs none of it.
    from gateway import config, endpoints
    from gateway.endpoints.app import App
    from gateway.services import Services

    app = App(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False
    app.json.sort_keys = False
    app.extensions["gateway"] = Services(settings or config.load())
    endpoints.register(app)
    return app
