"""`python -m bench.soak`: run the load, look at what is left, print and save what was found."""

from gevent import monkey

monkey.patch_all()

import datetime  # noqa: E402
import json  # noqa: E402
import pathlib  # noqa: E402
import resource  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402

import click  # noqa: E402
from rich.console import Console  # noqa: E402

from bench import machine  # noqa: E402
from bench.soak import plots, report  # noqa: E402
from bench.soak.run import Run  # noqa: E402
from bench.systems.base import ROOT  # noqa: E402

WHOLE = 600  # seconds of a run that is published
PUBLISHED, OTHERS = ROOT / "bench" / "results", ROOT / "build" / "bench"


@click.command()
@click.option("--seconds", type=click.IntRange(5), default=WHOLE, show_default=True)
@click.option("--rate", type=click.FloatRange(1), default=100, show_default=True, help="Calls/s.")
@click.option("--keep", is_flag=True, help="Keep the folder with configuration, database and logs.")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    help="Where to save: bench/results for whole runs, else build/bench.",
)
def main(seconds, rate, keep, into):
    """Load a gateway for minutes while it is reloaded and killed, and look for what is wrong."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    console = Console(width=None if sys.stdout.isatty() else 140)
    folder = tempfile.mkdtemp(prefix="soak-")
    try:
        found = Run(pathlib.Path(folder), seconds, rate, console.print).go()
    finally:
        report.tidy(folder, keep, console)
    found = {"date": f"{datetime.date.today()}", "machine": machine.described(), **found}
    save(found, into or (PUBLISHED if seconds >= WHOLE else OTHERS), console)
    report.show(console, found)
    sys.exit(any(check["ok"] is False for check in found["checks"]))


def save(found, folder, console):
    folder.mkdir(parents=True, exist_ok=True)
    drawn = plots.save(found, folder)
    (folder / "soak.md").write_text(report.markdown(found, drawn))
    (folder / "soak.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    console.print(f"Saved in {folder}")


if __name__ == "__main__":
    main(prog_name="python -m bench.soak")
