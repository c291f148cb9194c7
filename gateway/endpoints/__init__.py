"""The doors: a blueprint an endpoint, and what every request passes on its way in and out."""

from flask import Blueprint

from gateway import failures
from gateway.endpoints import (
    access,
    admission,
    chat,
    description,
    embeddings,
    health,
    jobs,
    journal,
    metrics,
    models,
    responses,
)
from gateway.endpoints.visit import current


def register(app):
    """Put every endpoint, the guards before them and the error handler into the app."""
    v1 = Blueprint("v1", __name__, url_prefix="/v1")
    for child in (chat, responses, embeddings, models, jobs):
        v1.register_blueprint(child.bp)
    for blueprint in (v1, health.bp, metrics.bp, description.bp):
        app.register_blueprint(blueprint)
    guard(app, app.extensions["gateway"])
    failures.register(app, seen=journal.failed)


def guard(app, services):
    """Let every request pass the same doors."""

    @app.before_request
    def come_in():
        visit = current()
        visit.services = services
        journal.begin(visit)
        access.check(visit)
        access.count(visit)
        admission.enter(visit)

    @app.after_request
    def go_out(response):
        visit = current()
        admission.leave(visit, response)
        journal.answer(visit, response)
        return response

    @app.teardown_request
    def abandon(exc):
        visit = current()
        journal.abandon(visit)
        admission.abandon(visit)
