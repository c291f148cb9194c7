"""The results as tables, on a terminal and as Markdown."""

from rich.table import Table

from bench import machine
from bench.targets import TARGETS

NAMES = {
    "upstream": "upstream itself",
    "nginx": "nginx",
    "hello": "Flask hello",
    "gateway": "gateway",
    "portkey": "Portkey",
    "litellm": "LiteLLM",
}
US, MS, KIB, MIB = 1e-6, 1e-3, 1024, 1024**2

# What each row is called and the unit it is shown in; {n} stands for a number of open streams.
ROWS = (
    ("request_cpu", "CPU per small chat, µs", US),
    ("full_request_cpu", "CPU per small chat at full speed, µs", US),
    ("requests_per_second", "small chats per second", 1),
    ("added_latency_1_p50", "added latency, 1 connection, p50, ms", MS),
    ("added_latency_1_p99", "added latency, 1 connection, p99, ms", MS),
    ("added_latency_32_p50", "added latency, 32 connections, p50, ms", MS),
    ("added_latency_32_p99", "added latency, 32 connections, p99, ms", MS),
    ("chunk_cpu", "CPU per relayed chunk, 32 streams, µs", US),
    ("open_chunk_cpu_{n}", "CPU per relayed chunk, {n} open, µs", US),
    ("first_token_{n}_p50", "first token, {n} opened at once, p50, ms", MS),
    ("first_token_{n}_p99", "first token, {n} opened at once, p99, ms", MS),
    ("stream_memory_{n}", "memory per stream, {n} open, KiB", KIB),
    ("idle_memory", "memory before, MiB", MIB),
    ("idle_cpu", "CPU when idle, ms a second", MS),
    ("prompt_more_cpu", "CPU of a 1 MB prompt, more than a small chat, ms", MS),
    ("relay_cpu", "CPU per translated Responses chunk in the relay, µs", US),
    ("start", "start until it answers, s", 1),
)
RATIOS = ("request_cpu", "chunk_cpu", "first_token_{n}_p50", "stream_memory_{n}", "idle_memory")
OTHERS = ("hello", "nginx", "portkey", "litellm")
CURVES = (
    ("messages", "messages in a chat", "CPU a request, µs", US),
    ("bytes", "bytes of a body", "CPU a request, µs", US),
    ("models", "models configured", "CPU a request, µs", US),
    ("keys", "keys in the database", "CPU a request, µs", US),
    ("models_start", "models configured", "start, s", 1),
    ("keys_start", "keys in the database", "start, s", 1),
    ("models_memory", "models configured", "memory, MiB", MIB),
    ("keys_memory", "keys in the database", "memory, MiB", MIB),
)


def tables(results, opened):
    """Return [(title, header, rows)], all as words; `opened` has the numbers of open streams."""
    found = [targets(results), medians(results, opened), ratios(results, opened), curves(results)]
    return [table for table in found if table[2]]


def targets(results):
    header = ["target", "reached", "bar", "aim", "verdict"]
    rows = []
    for one in TARGETS:
        unit = f" {one.unit}" if one.unit else ""
        value = one.value(results)
        reached = "not measured" if value is None else number(value) + unit
        rows.append(
            [one.label, reached, f"≤ {one.bar:g}{unit}", f"{one.aim:g}{unit}", one.verdict(results)]
        )
    return "Targets", header, rows


def medians(results, opened):
    systems = [name for name in NAMES if any(name in row for row in results.rows.values())]
    rows = []
    for key, label, scale in each(ROWS, opened):
        values = [results.median(key, system) for system in systems]
        if any(value is not None for value in values):
            rows.append([label, *(number(v if v is None else v / scale) for v in values)])
    return "Medians", ["", *(NAMES[name] for name in systems)], rows


def ratios(results, opened):
    labels = {key: label.rpartition(",")[0] for key, label, _ in each(ROWS, opened)}
    rows = []
    for (key,) in each([(key,) for key in RATIOS], opened):
        values = [results.ratio(key, "gateway", other) for other in OTHERS]
        if any(value is not None for value in values):
            rows.append([labels[key], *map(number, values)])
    return "The gateway beside", ["", *(NAMES[name] for name in OTHERS)], rows


def curves(results):
    rows = []
    for name, what, unit, scale in CURVES:
        points = results.curve(name)
        if points:
            shown = (f"{x:,}: {number(y / scale)}" for x, y in points)
            rows.append([what, unit, " · ".join(shown)])
    return "How the gateway's cost grows", ["", "", ""], rows


def each(rows, opened):
    """Yield rows, those with {n} once for each number of open streams."""
    for row in rows:
        if "{n}" not in row[0]:
            yield row
            continue
        # One stream's chunks are so few that what a process does anyway would count as theirs.
        for n in opened[row[0].startswith("open_chunk") :]:
            filled = row[1].replace("{n}", f"{n:,}") if len(row) > 1 else ""
            yield (row[0].replace("{n}", str(n)), *([filled, *row[2:]] if len(row) > 1 else []))


def number(value):
    """Return a number with about three digits, a dash for none."""
    if value is None:
        return "–"
    size = abs(value)
    return f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3}f}"


def show(console, found, about, notes):
    """Print tables on a terminal."""
    for title, header, rows in found:
        table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False)
        for at, name in enumerate(header):
            table.add_column(name, justify="left" if at == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*row, style="red" if row[-1] == "fail" else None)
        console.print(table, "")
    console.print(machine.sentence(about), machine.versions(about), *notes, sep="\n")


def markdown(found, about, notes, plots):
    """Return the tables as a page of Markdown, with its plots."""
    parts = ["# Benchmark", machine.sentence(about) + ".  \n" + machine.versions(about) + "."]
    parts += [f"![{name}]({name}.svg)" for name in plots]
    for title, header, rows in found:
        lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
        parts.append(f"## {title}")
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    parts += [f"- {note.splitlines()[0]}" for note in notes]
    return "\n\n".join(parts) + "\n"
