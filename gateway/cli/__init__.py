"""The command `gateway`: finds each command's file, and says in sentences what went wrong."""

import contextlib
import importlib
import sys

import click

from gateway.cli import streams

# Each command's module:attribute, and its line in `gateway --help`. A module is imported only
# when its command runs, and imports this package but no other command's module.
COMMANDS = {
    "check": ("gateway.cli.check:check", "Validate the configuration."),
    "db": ("gateway.cli.db:db", "Look after the database."),
    "doctor": ("gateway.cli.doctor:doctor", "Check the machine's set-up."),
    "drain": ("gateway.cli.drain:drain", "Turn /readyz to 503 before a stop."),
    "explain": ("gateway.cli.explain:explain", "Say which upstreams a call would try."),
    "jobs": ("gateway.cli.jobs:jobs", "List, show and cancel jobs."),
    "keys": ("gateway.cli.keys:keys", "Create, change, list and revoke API keys."),
    "mock": ("gateway.cli.mock:mock", "Run a scripted upstream to rehearse failures with."),
    "models": ("gateway.cli.models:models", "List the models, their upstreams and their health."),
    "serve": ("gateway.cli.serve:serve", "Serve the API under gunicorn."),
    "worker": ("gateway.cli.worker:worker", "Run jobs and nothing else."),
    "usage": ("gateway.cli.usage:usage", "Show what was used, and what it cost."),
}


class Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx):
        return sorted(COMMANDS)

    def get_command(self, ctx, name):
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name][0].split(":")
        return getattr(importlib.import_module(module), attribute)

    def main(self, *args, **kwargs):
        streams.prepare()
        try:
            return super().main(*args, **kwargs)  # which ends quietly when a pipe's reader has left
        except OSError as exc:
            fail(f"{exc.filename or 'gateway'}: {streams.reason(exc)}.")
        except UnicodeError:  # Its own words may repeat a password.
            fail("An argument, a setting or the name of this folder holds what is not text.")
        finally:
            streams.settle()

    def format_commands(self, ctx, formatter):
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main():
    """Klintero Gateway: one OpenAI-compatible API in front of many upstreams."""


def fail(message, code=1):
    """Write sentences to stderr and end the command."""
    with contextlib.suppress(OSError):  # The exit status still tells.
        click.echo(message, err=True)
    sys.exit(code)


def load_settings():
    """Return the settings; print every mistake in them and exit with 2 if there are any."""
    from gateway import config

    try:
        return config.load()
    except config.ConfigError as exc:
        fail(str(exc), 2)


@contextlib.contextmanager
def open_database():
    """Give the database of the settings, migrated; end the command with a sentence if it fails."""
    from gateway import database, engines, errors

    settings = load_settings()
    url = settings.server.database_url
    try:
        if settings.server.redis_url:
            from gateway.limits import stores  # takes a while to import

            stores.check(settings)
        database.upgrade(url)
        with contextlib.closing(database.Database(url)) as found:
            yield found
    except engines.SetupError as exc:
        fail(str(exc))
    except errors.DependencyUnavailable as exc:
        fail(f"The database cannot be used: {database.reason(exc.__cause__ or exc)}.")
