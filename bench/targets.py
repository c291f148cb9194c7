"""What the gateway promises to cost: a bar that each value stays below, and what it aims at."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """`row` is judged in `scale` units, beside another system where `beside` names one."""

    label: str
    row: str
    bar: float
    aim: float
    beside: str = ""
    scale: float = 1
    unit: str = ""

    def value(self, results):
        """Return what was reached, None if it was not measured."""
        if self.beside:
            return results.ratio(self.row, "gateway", self.beside)
        found = results.median(self.row, "gateway")
        return None if found is None else found / self.scale

    def verdict(self, results):
        """Return pass, with a word more when the aim is reached; fail; or a dash."""
        value = self.value(results)
        if value is None:
            return "–"
        return "fail" if value > self.bar else "pass, aim reached" if value <= self.aim else "pass"


TARGETS = (
    Target("CPU per small chat, beside Flask hello", "request_cpu", 1.8, 1.4, "hello"),
    Target("CPU per small chat, beside nginx", "request_cpu", 28, 20, "nginx"),
    Target("CPU per small chat, beside Portkey", "request_cpu", 0.4, 0.25, "portkey"),
    Target("CPU per small chat, beside LiteLLM", "request_cpu", 0.05, 0.03, "litellm"),
    Target("CPU per relayed chunk, beside nginx", "chunk_cpu", 3.2, 2.2, "nginx"),
    Target("CPU per relayed chunk, beside LiteLLM", "chunk_cpu", 0.06, 0.03, "litellm"),
    Target(
        "first token, 1,000 streams opened at once, beside nginx",
        "first_token_1000_p50", 3.5, 2.5, "nginx",
    ),
    Target(
        "memory per open stream, 1,000 open", "stream_memory_1000", 40, 25,
        scale=1024, unit="KiB",
    ),
    Target(
        "CPU of a 1 MB prompt, more than a small one's", "prompt_more_cpu", 8, 4,
        scale=1e-3, unit="ms",
    ),
    Target("translated Responses chunk, beside a native one", "relay_cpu", 2, 1.5, "native"),
    Target("start until it answers", "start", 1.5, 0.8, unit="s"),
)  # fmt: skip
