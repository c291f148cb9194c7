"""`python -m bench`: run the rounds, print the tables, save them with their plots."""

import datetime
import gc
import json
import os
import pathlib
import resource
import signal
import sys
import tempfile
import time

import click
from rich.console import Console

from bench import machine, measures, plots, report
from bench.results import Results
from bench.rounds import MEASURES, Rounds
from bench.systems.base import ROOT
from bench.systems.gateway import Gateway
from bench.systems.hello import Hello
from bench.systems.litellm import LiteLLM
from bench.systems.nginx import Nginx
from bench.systems.portkey import Portkey
from bench.targets import TARGETS

SYSTEMS = {one.name: one for one in (Nginx, Hello, Gateway, Portkey, LiteLLM)}
PUBLISHED = ROOT / "bench" / "results"
CHEAP = [name for name in MEASURES if name != "scaling"]
OTHERS = ROOT / "build" / "bench"  # where runs go that are no whole ones


@click.command()
@click.option("--rounds", type=click.IntRange(1), help="How many; 5, or 1 with --quick.")
@click.option("--quick", is_flag=True, help="Small numbers, under a minute: to see that it works.")
@click.option("--only", default="", help=f"Some of {', '.join([*SYSTEMS, *MEASURES])}, by commas.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Also write it there.")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    help="Where to save: bench/results for whole runs, else build/bench.",
)
def main(rounds, quick, only, json_path, into):
    """Measure the gateway beside nginx, Flask and other gateways, and save tables and plots."""
    systems, wanted = chosen(only, CHEAP if quick else MEASURES)
    results, sizes = Results(), measures.QUICK if quick else measures.Sizes()
    rounds = rounds or (1 if quick else 5)
    versions = installed(systems, results)
    about = {
        "date": f"{datetime.date.today()}",
        "rounds": rounds,
        "machine": machine.described(),
        "versions": {report.NAMES[name]: version for name, version in versions.items()},
    }
    console = Console(width=None if sys.stdout.isatty() else 140)
    measure([SYSTEMS[name] for name in versions], sizes, results, wanted, rounds, console)
    results.derive()
    folder = into or (OTHERS if quick or only else PUBLISHED)
    finish(results, sizes, about, folder, json_path, console)
    if any(note.startswith("gateway") for note in results.notes):
        sys.exit(1)


def chosen(only, usual):
    """Return the systems and the measures asked for: all and the usual ones if none is named."""
    names = [name for name in only.split(",") if name]
    if unknown := set(names) - set(SYSTEMS) - set(MEASURES):
        raise click.BadParameter(f"{', '.join(sorted(unknown))} is neither a system nor a measure")
    systems = [SYSTEMS[name] for name in SYSTEMS if name in names] or list(SYSTEMS.values())
    wanted = {name for name in names if name in MEASURES} or set(usual)
    return systems, wanted | ({"small"} if "prompt" in wanted else set())


def installed(systems, results):
    """Return {name: version} of those that are there, and note who is left out."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for system in systems:
            version = system(folder).version()
            if version is not None:
                found[system.name] = version
            else:
                how = "make bench-peers" if system in (LiteLLM, Portkey) else "install it"
                results.note(f"{report.NAMES[system.name]} is left out: not installed ({how}).")
    return found


def measure(systems, sizes, results, wanted, rounds, console):
    """Run the rounds in a temporary folder, with everything ended whatever happens."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # 1,000 streams are 2,000 sockets
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, console.status("") as status:
        began = time.monotonic()

        def say(text):
            text = f"{time.monotonic() - began:4.0f} s  {text}"
            status.update(text) if console.is_terminal else console.print(text)

        Rounds(systems, sizes, results, wanted, folder, say).run(rounds)


def finish(results, sizes, about, folder, json_path, console):
    """Print what was found and write it down."""
    folder.mkdir(parents=True, exist_ok=True)
    found = report.tables(results, sizes.open)
    names = plots.save(results, sizes.open, machine.sentence(about), folder)
    report.show(console, found, about, results.notes)
    (folder / "latest.md").write_text(report.markdown(found, about, results.notes, names))
    text = json.dumps({**about, **results.as_json(TARGETS)}, indent=1, ensure_ascii=False) + "\n"
    for path in filter(None, (folder / "latest.json", json_path)):
        pathlib.Path(path).write_text(text)
    console.print(f"Saved in {os.path.relpath(folder)}")


if __name__ == "__main__":
    main(prog_name="python -m bench")
