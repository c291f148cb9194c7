"""LiteLLM's proxy: one worker, a master key, no database."""

from bench.systems.base import PEERS, System

CONFIG = """
model_list:
  - model_name: bench
    litellm_params:
      model: openai/bench
      api_base: http://127.0.0.1:{upstream}/v1
      api_key: sk-upstream
general_settings:
  master_key: sk-bench
"""


class LiteLLM(System):
    name = "litellm"
    health = "/health/liveliness"

    def version(self):
        installed = PEERS / "litellm" / "installed"
        return installed.read_text().strip() if installed.exists() else None

    def prepare(self):
        (self.folder / "config.yaml").write_text(CONFIG.format(upstream=self.upstream_port))

    def command(self):
        return [
            str(PEERS / "litellm" / "bin" / "litellm"), "--config", "config.yaml",
            "--host", "127.0.0.1", "--port", str(self.port), "--num_workers", "1",
        ]  # fmt: skip

    def environ(self):
        return {
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the internet as it starts
            "LITELLM_TELEMETRY": "False",
        }
