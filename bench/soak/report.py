"""What the soak found: tables for a terminal and for a page."""

import shutil

from rich.table import Table

from bench import machine
from bench.soak.place import BUILT

WORDS = {True: "yes", False: "NO", None: "not looked at"}


def tidy(folder, keep, console):
    if keep:
        console.print(f"Kept: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


def tables(found):
    """Return [(title, header, rows)]."""
    checks = [[check["name"], WORDS[check["ok"]], check["saw"]] for check in found["checks"]]
    kinds = [
        [name, f"{sum(ends.values()):,}", ", ".join(f"{what}: {n:,}" for what, n in ends.items())]
        for name, ends in found["kinds"].items()
    ]
    return [
        ("Promises", ["", "kept", "seen"], checks),
        ("Figures", ["", ""], figures(found)),
        ("Processes", PROCESSES, [process(line) for line in found["processes"]]),
        ("Calls", ["kind", "calls", "what became of them"], kinds),
    ]


def figures(found):
    cpu, took = found["cpu"], found["latency"]
    milliseconds = (f"{value * 1000:.1f}" if value else "–" for value in took.values())
    return [
        ["load", f"{found['rate']:g} calls a second for {found['seconds']} s"],
        ["calls, HTTP requests", f"{found['calls']:,}, {found['requests']:,}"],
        ["rows of usage", f"{found['rows']:,}"],
        ["small chat, p50, p99 and slowest, ms", ", ".join(milliseconds)],
        ["CPU of the gateway, cores", f"{cpu['gateway']:.2f}"],
        ["CPU of upstream and client, cores", f"{cpu['upstream']:.2f}, {cpu['client']:.2f}"],
        ["most memory, PSS of all processes, MB", f"{peak(found, 1) / 1e6:.0f}"],
        ["most descriptors of all processes", f"{peak(found, 2)}"],
    ]


def peak(found, column):
    return max(sample[column] for sample in found["series"]["samples"])


PROCESSES = ["", "from, s", "until, s", "PSS, MB", "growth, MB/min", "descriptors"]


def process(line):
    slope = line["anon_slope"]
    return [
        line["role"],
        f"{max(line['from'], 0):.0f}",
        f"{line['until']:.0f}" if not line["alive"] else "end",
        f"{line['pss'] / 1e6:.1f}",
        "–" if slope is None else f"{slope / 1e6:+.2f}",
        str(line["fds"]),
    ]


def sentence(found):
    return machine.sentence({**found, "rounds": 1}).replace(", 1 round", "")


def faults(found):
    for check in found["checks"]:
        for fault in check["faults"]:
            yield f"{check['name']}: {fault}"


def notes(found):
    said = []
    if found["lease"] != BUILT:
        said.append(f"A short run: leases are {found['lease']} s instead of {BUILT}.")
    said += [f"Not looked at: {one['name']}." for one in found["checks"] if one["ok"] is None]
    if found["held_back"]:
        said.append(f"{found['held_back']} calls were held back: too many were under way.")
    return said


def show(console, found):
    for title, header, rows in reversed(tables(found)):
        table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False)
        for at, name in enumerate(header):
            table.add_column(name, overflow="fold", justify="left" if at in (0, 2) else "right")
        for row in rows:
            table.add_row(*row, style="red" if "NO" in row else None)
        console.print(table, "")
    console.print(*notes(found), sep="\n")
    for fault in faults(found):
        console.print(fault, style="red", markup=False, soft_wrap=True)


def markdown(found, drawn):
    parts = ["# Soak", sentence(found) + "."]
    parts += [f"![{name}]({name}.svg)" for name in drawn]
    for title, header, rows in tables(found):
        lines = [header, ["---"] * len(header), *rows]
        parts.append(f"## {title}")
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    parts += ["\n".join(f"- {line}" for line in [*notes(found), *faults(found)])]
    return "\n\n".join(part for part in parts if part) + "\n"
