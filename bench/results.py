"""What the rounds have brought: values by row, system and round, and what follows from them."""

from bench import stats

ADDED = ("latency_1_p50", "latency_1_p99", "latency_32_p50", "latency_32_p99")


class Results:
    """`rows` is {row: {system: [one value a round, None where there is none]}}."""

    def __init__(self):
        self.rows, self.curves, self.notes = {}, {}, []

    def add(self, number, system, found):
        """Note what a system has shown in round `number`, counted from 0."""
        for row, value in found.items():
            values = self.rows.setdefault(row, {}).setdefault(system, [])
            values += [None] * (number + 1 - len(values))
            values[number] = value

    def append(self, row, system, value):
        """Note a value of a row that has no rounds."""
        self.rows.setdefault(row, {}).setdefault(system, []).append(value)

    def add_point(self, curve, x, value):
        """Note a point of a curve of the gateway's own."""
        self.curves.setdefault(curve, {}).setdefault(x, []).append(value)

    def note(self, text):
        """Note what went wrong; only its first line, since the rest may be a peer's whole log."""
        line = text.partition("\n")[0]
        if line not in self.notes:
            self.notes.append(line)

    def derive(self):
        """Add the rows that come from comparing others: added_… is beside the upstream itself."""
        for row in ADDED:
            found = self.rows.get(row, {})
            base = found.get("upstream", [])
            for system, values in found.items():
                if system in ("upstream", "hello"):
                    continue
                pairs = enumerate(zip(values, base, strict=False))
                for number, (value, direct) in pairs:
                    if value is not None and direct is not None:
                        self.add(number, system, {f"added_{row}": value - direct})

    def median(self, row, system):
        """Return a median, None if there is nothing."""
        return stats.median(self.rows.get(row, {}).get(system, []))

    def ratio(self, row, system, other):
        """Return the median over the rounds of a system's value beside another's."""
        found = self.rows.get(row, {})
        return stats.ratio(found.get(system, []), found.get(other, []))

    def curve(self, name):
        """Return [(x, median)] of a curve."""
        return [(x, stats.median(values)) for x, values in self.curves.get(name, {}).items()]

    def as_json(self, targets):
        """Return everything for a file; times in seconds, memory in bytes."""
        return {
            "targets": [
                {**vars(one), "value": one.value(self), "verdict": one.verdict(self)}
                for one in targets
            ],
            "rows": {
                row: {
                    system: {"median": stats.median(values), "rounds": values}
                    for system, values in found.items()
                }
                for row, found in self.rows.items()
            },
            "curves": {name: self.curve(name) for name in self.curves},
            "notes": self.notes,
        }
