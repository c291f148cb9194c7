"""What `gateway doctor` looks at: a file for each part of a machine's set-up.

    finding    what a check says
    machine    folders, file systems, descriptors, clock, versions
    database   SQLite or PostgreSQL
    limits     Redis
    upstreams  names, connections and keys; never a call that costs
    nginx      the sites in front of us
    systemd    our units

Each has `check(settings)`, which yields findings and may fail in any way.
"""

from gateway.doctor import database, limits, machine, nginx, systemd, upstreams
from gateway.doctor.finding import PROBLEM, Finding

CHECKS = (machine, database, limits, upstreams, nginx, systemd)


def examine(settings, checks=CHECKS):
    """Yield what every check finds; one that fails is a finding too, and stops no other."""
    for module in checks:
        name = module.__name__.rpartition(".")[2]
        try:
            yield from module.check(settings)
        except Exception as exc:
            yield Finding(PROBLEM, name, f"could not be looked at: {type(exc).__name__}.")
