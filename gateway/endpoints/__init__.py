"""The doors: a blueprint an endpoint, and what every request passes on its way in and out."""

from flask import Blueprint

from gateway import errors
from gateway.endpoints import (
    access,
    admission,
    chat,
    embeddings,
    health,
    journal,
    metrics,
    models,
    responses,
)


def register(app):
    """Put every endpoint, the guards before them and the error handler into the app."""
    v1 = Blueprint("v1", __name__, url_prefix="/v1")
    for child in (chat, responses, embeddings, models):
        v1.register_blueprint(child.bp)
    for blueprint in (v1, health.bp, metrics.bp):
        app.register_blueprint(blueprint)
    app.before_request(journal.begin)
    app.before_request(access.check)
    app.before_request(admission.enter)
    app.after_request(admission.leave)
    app.after_request(journal.answer)
    app.teardown_request(journal.abandon)
    app.teardown_request(admission.abandon)
    errors.register(app, seen=journal.failed)
