"""`gateway doctor`: check the machine's set-up, and say what to do where something is wrong."""

import sys

import click

from gateway.cli.streams import echo_json

MARKS = {"ok": "ok      ", "warning": "warning ", "problem": "PROBLEM "}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def doctor(as_json):
    """Check the set-up of this machine; exit with 1 if there is a problem.

    No call that costs is made. Run it as the account that the gateway runs as.
    """
    from gateway.doctor.finding import PROBLEM

    found = []
    for finding in findings():
        found.append(finding)
        if not as_json:
            click.echo(f"{MARKS[finding.level]}{finding.name}: {finding.message}")
    if as_json:
        echo_json([finding._asdict() for finding in found])
    sys.exit(any(finding.level == PROBLEM for finding in found))


def findings():
    import logging

    from gateway import config, doctor
    from gateway.doctor.finding import PROBLEM, Finding

    logging.getLogger("gateway").addHandler(logging.NullHandler())  # said below, in a sentence
    try:
        settings = config.load()
    except config.ConfigError as exc:
        yield Finding(PROBLEM, "configuration", str(exc))
        return
    yield from doctor.examine(settings)
