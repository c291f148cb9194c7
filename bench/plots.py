"""The results as plots, PNG and SVG; only where matplotlib is installed."""

from bench.report import KIB, MS, NAMES, US, number

COLOURS = {
    "upstream": "#9aa0a6",
    "nginx": "#2e7d32",
    "hello": "#8d6e63",
    "gateway": "#1565c0",
    "portkey": "#ef6c00",
    "litellm": "#c62828",
}
BARS = (
    ("request_cpu", "CPU per small chat, µs", US),
    ("chunk_cpu", "CPU per relayed chunk, µs", US),
    ("added_latency_1_p50", "added latency, 1 connection, ms", MS),
    ("added_latency_32_p50", "added latency, 32 connections, ms", MS),
    ("first_token_{n}_p50", "first token, {n} streams at once, ms", MS),
    ("stream_memory_{n}", "memory per stream of {n}, KiB", KIB),
)
GROWING = (("messages", "messages in a chat"), ("bytes", "bytes of a body"))
FLAT = (("models", "models configured"), ("keys", "keys in the database"))


def save(results, opened, title, folder):
    """Write the plots and return their names, without the endings; none without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "bench", "font.size": 9})
    found = {"latest": bars(results, opened, title)}
    if results.curves:
        found["latest-growth"] = growth(results, opened, title)
    for name, figure in found.items():
        figure.savefig(folder / f"{name}.png", dpi=130)
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return list(found)


def panels(title, scales):
    """Return a figure and its six empty panels."""
    from matplotlib.figure import Figure

    found = Figure(figsize=(11, 6.4), layout="constrained")
    found.suptitle(f"{title}. {scales}", fontsize=8, color="#555555")
    all_axes = list(found.subplots(2, 3).flat)
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
    return found, all_axes


def bars(results, opened, title):
    """Return a figure of the systems side by side."""
    found, all_axes = panels(title, "Logarithmic scales: shorter is better.")
    most = max(opened)
    for axes, (key, label, scale) in zip(all_axes, BARS, strict=True):
        values = {
            name: results.median(key.replace("{n}", str(most)), name)
            for name in NAMES
            if name != "upstream" or "first" in key
        }
        values = {name: value / scale for name, value in values.items() if value and value > 0}
        axes.set_title(label.replace("{n}", f"{most:,}"), fontsize=10)
        if values:
            bar_panel(axes, values)
    return found


def bar_panel(axes, values):
    axes.set_xscale("log")
    axes.set_xlim(min(values.values()) / 3, max(values.values()) * 6)
    axes.barh(range(len(values)), list(values.values()), color=[COLOURS[name] for name in values])
    axes.set_yticks(range(len(values)), [NAMES[name] for name in values])
    axes.invert_yaxis()
    plain(axes.xaxis)
    for at, value in enumerate(values.values()):
        axes.text(value * 1.12, at, number(value), va="center")


def growth(results, opened, title):
    """Return a figure of how cost grows with the work."""
    found, all_axes = panels(title, "Dotted: as fast as the work.")
    for axes, (name, label) in zip(all_axes, GROWING + FLAT, strict=False):
        axes.set_title(f"CPU per chat, µs, by {label}", fontsize=10)
        points = [(x, y / US) for x, y in results.curve(name)]
        if points:
            lines(axes, {"gateway": points})
            guide(axes, points) if (name, label) in GROWING else flat(axes, points)
    for axes, key, scale, label, counts in (
        (all_axes[4], "open_chunk_cpu_{n}", US, "CPU per chunk, µs, by open streams", opened[1:]),
        (all_axes[5], "first_token_{n}_p50", MS, "first token p50, ms, by streams", opened),
    ):
        axes.set_title(label, fontsize=10)
        lines(axes, {name: by_opened(results, key, name, counts, scale) for name in NAMES})
        logarithmic(axes)
    return found


def by_opened(results, key, system, counts, scale):
    points = [(n, results.median(key.replace("{n}", str(n)), system)) for n in counts]
    return [(n, value / scale) for n, value in points if value]


def lines(axes, found):
    """Draw a line a system, with the gateway's numbers."""
    for name, points in found.items():
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=COLOURS[name], label=NAMES[name])
    for x, y in found["gateway"]:
        axes.annotate(
            number(y), (x, y), xytext=(0, 7), textcoords="offset points", ha="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(sorted({x for points in found.values() for x, _ in points}), minor=False)
    axes.minorticks_off()
    plain(axes.xaxis)
    axes.margins(0.12, 0.2)
    if len(found) > 1:
        axes.legend(frameon=False, fontsize=8)


def guide(axes, points):
    """Draw what it would cost if it grew as the work does."""
    x, y = points[0]
    axes.plot([x, points[-1][0]], [y, y * points[-1][0] / x], ":", color="#9aa0a6")
    logarithmic(axes)


def flat(axes, points):
    axes.set_ylim(0, max(y for _, y in points) * 1.4)


def logarithmic(axes):
    axes.set_yscale("log")
    plain(axes.yaxis)
    axes.grid(axis="y", alpha=0.25)


def plain(axis):
    """Write 1,000 and not 10³."""
    axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axis.set_minor_formatter(lambda value, _: "")
