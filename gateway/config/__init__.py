"""Settings from one TOML file and the environment, with every mistake reported at once."""

from gateway.config.mistakes import ConfigError, Mistake
from gateway.config.read import load
from gateway.config.shape import (
    Jobs,
    LocalModel,
    Model,
    Price,
    Responses,
    Retry,
    Server,
    Settings,
    Target,
    Timeouts,
    Upstream,
    Usage,
)

__all__ = [
    "ConfigError",
    "Jobs",
    "LocalModel",
    "Mistake",
    "Model",
    "Price",
    "Responses",
    "Retry",
    "Server",
    "Settings",
    "Target",
    "Timeouts",
    "Upstream",
    "Usage",
    "load",
]
