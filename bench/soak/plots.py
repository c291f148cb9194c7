"""Memory, descriptors and rate over time as a plot, PNG and SVG; only where matplotlib is."""

MARKS = {
    "reload": ("#1565c0", "reload"),
    "kill web": ("#c62828", "web worker killed"),
    "kill job": ("#ef6c00", "job worker killed"),
}


def save(found, folder):
    """Write the plot and return its name in a list; an empty one without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "bench", "font.size": 9})
    figure = drawn(found)
    figure.savefig(folder / "soak.png", dpi=130)
    figure.savefig(folder / "soak.svg", metadata={"Date": None})
    return ["soak"]


def drawn(found):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.6), layout="constrained")
    memory, descriptors, rate = all_axes = figure.subplots(3, 1, sharex=True)
    samples = found["series"]["samples"]
    times = [sample[0] for sample in samples]
    memory.plot(times, [sample[1] / 1e6 for sample in samples], color="#2e7d32")
    memory.set_title("memory, PSS of all processes, MB", fontsize=10, loc="left")
    descriptors.plot(times, [sample[2] for sample in samples], color="#8d6e63")
    descriptors.set_title("descriptors of all processes", fontsize=10, loc="left")
    rate.plot(*zip(*found["series"]["ended"], strict=True), color="#455a64", drawstyle="steps-post")
    rate.set_title("calls ended, a second", fontsize=10, loc="left")
    rate.set_xlabel("seconds")
    for axes in all_axes:
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        marks(axes, found["operations"])
    memory.legend(frameon=False, fontsize=8, ncols=3, loc="lower right")
    return figure


def marks(axes, operations):
    """Draw a line at each reload and kill."""
    named = set()
    for step in operations:
        if step["what"] in MARKS:
            colour, label = MARKS[step["what"]]
            label = None if step["what"] in named else label
            axes.axvline(step["at"], color=colour, linewidth=0.8, alpha=0.7, label=label)
            named.add(step["what"])
