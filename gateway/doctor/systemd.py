"""Our systemd units, as far as they are installed."""

import re

from gateway.doctor.finding import OK, PROBLEM, WARNING, Finding, judge, said
from gateway.doctor.machine import CALL, OTHERS

UNITS = ("gateway.service", "gateway-standby.service", "gateway-worker.service")
ASKED = "LoadState,TimeoutStopUSec,LimitNOFILE,KillMode"
UNITS_OF_TIME = {
    "us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400,
    "month": 30.44 * 86400, "y": 365.25 * 86400,
}  # fmt: skip


def check(settings):
    told = said("systemctl", "show", f"--property={ASKED}", *UNITS)
    if told is None:
        yield Finding(OK, "systemd", "Not installed.")
        return
    status, text = told
    if status:
        yield Finding(OK, "systemd", "Not running.")
        return
    found = dict(zip(UNITS, map(properties, text.strip().split("\n\n")), strict=False))
    loaded = {unit: values for unit, values in found.items() if values["LoadState"] == "loaded"}
    if not loaded:
        yield Finding(OK, "systemd", "Our units are not installed.")
    for unit, values in loaded.items():
        yield from unit_checked(unit, values, settings.server)


def properties(block):
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def unit_checked(unit, values, server):
    stop, drain = seconds(values["TimeoutStopUSec"]), server.drain
    wrong = f"TimeoutStopSec is {stop:g} s, drain {drain} s: streams are cut. Raise it above drain."
    yield judge(stop > drain, unit, f"TimeoutStopSec lies above drain ({drain} s).", wrong)
    mode = values["KillMode"]
    wrong = f"KillMode is {mode}: set mixed, so that the master tells its workers itself."
    yield judge(mode == "mixed", unit, "KillMode is mixed.", wrong, PROBLEM)
    files, need = number(values["LimitNOFILE"]), CALL * server.max_in_flight + OTHERS
    wrong = f"LimitNOFILE is {files:g}, below the {need} that max_in_flight needs: raise it."
    yield judge(files >= need, unit, f"LimitNOFILE is enough ({need}).", wrong, WARNING)


def number(text):
    return float("inf") if text == "infinity" else float(text)


def seconds(text):
    """Return what systemd writes as `10min 30s`."""
    if text == "infinity":
        return float("inf")
    parts = re.findall(r"([\d.]+)([a-z]+)", text)
    return sum(float(amount) * UNITS_OF_TIME[unit] for amount, unit in parts)
