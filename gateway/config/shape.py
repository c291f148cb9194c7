"""The settings as dataclasses: each field is one key of the file, with its default and its check.

A field without a default is a key that must be given. `key` is its name in the file where that
differs, and what may hold a secret is left out of reprs. A new setting is one line here, one in
deploy/gateway.example.toml and one in docs/configuration.md.
"""

from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path

from gateway import prices
from gateway.config import addresses, checks
from gateway.config.checks import boolean, number, seconds, whole
from gateway.config.mistakes import meant
from gateway.key import matches

BUNDLED_MODEL = "smollm2-135m-instruct"
BUNDLED_EMBED_MODEL = "smollm2-135m-embed"
CENTURY_DAYS = 36500
CLIENT_TIMEOUTS = ("body", "write")  # of the way to a client, where no upstream is known


def setting(check, default=MISSING, key=None, repr=True):
    made = {"default_factory": default} if callable(default) else {"default": default}
    return field(**made, repr=repr, metadata={"check": check, "key": key})


@dataclass(frozen=True)
class Table:
    """Checks a TOML table against the dataclass that it becomes."""

    shape: type

    def __call__(self, value, at):
        return self.shape(**self.given(value, at))

    def known(self):
        return keys(self.shape)

    def given(self, value, at):
        """Return the fields that the table gives, and None for what it fails to give."""
        checks.expect(value, (dict,), "a table")
        known = self.known()
        for key in value:
            if key not in known:
                at.into(key).wrong(f"unknown key{meant(key, known)}")
        given = {}
        for key, part in known.items():
            if key in value:
                given[part.name] = at.into(key).read(part.metadata["check"], value[key])
            elif part.default is MISSING and part.default_factory is MISSING:
                at.into(key).wrong("is missing")
                given[part.name] = None
        return given


@dataclass(frozen=True)
class Overrides(Table):
    """Checks a table that may give some of the keys, and leaves it to be merged with the rest.

    `without` are the keys that count for all or not at all, which it may not give.
    """

    without: tuple = ()

    def known(self):
        return {key: part for key, part in super().known().items() if key not in self.without}

    def __call__(self, value, at):
        return self.given(value, at)


@dataclass(frozen=True)
class Tables:
    """Checks an array of tables."""

    shape: type

    def __call__(self, value, at):
        checks.expect(value, (list,), "an array of tables ([[…]] or [{…}])")
        read = Table(self.shape)
        return tuple(at.into(index).read(read, item) for index, item in enumerate(value))


def keys(shape):
    """Map the keys that a table may have to the fields of its dataclass."""
    return {part.metadata["key"] or part.name: part for part in fields(shape) if part.metadata}


@dataclass(frozen=True)
class Server:
    bind: str = setting(addresses.bind, "127.0.0.1:8000")
    ops_bind: str = setting(addresses.bind, "127.0.0.1:8001")
    database_url: str = setting(addresses.database_url, "sqlite:///var/gateway.db", repr=False)
    redis_url: str = setting(addresses.redis_url, "", repr=False)
    max_body_mb: int = setting(whole(1, 1024), 20)
    max_in_flight: int = setting(whole(1, 1_000_000), 2000)
    drain: int = setting(whole(1, checks.WEEK), 600)


@dataclass(frozen=True)
class Timeouts:
    connect: float = setting(seconds, 5)
    first_token: float = setting(seconds, 120)
    idle: float = setting(seconds, 60)
    total: float = setting(seconds, 590)
    stream_total: float = setting(seconds, 3600)
    keepalive: float = setting(seconds, 15)
    body: float = setting(seconds, 30)
    write: float = setting(seconds, 60)


@dataclass(frozen=True)
class Retry:
    attempts: int = setting(whole(0, 100), 2)
    upstreams: int = setting(whole(1, 100), 3)
    within: float = setting(seconds, 10)


@dataclass(frozen=True)
class Jobs:
    concurrency: int = setting(whole(0, 100_000), 32)
    per_key: int = setting(whole(1, 1_000_000), 100)
    retention_hours: float = setting(number(0, 24 * CENTURY_DAYS, above=True), 24)


@dataclass(frozen=True)
class Usage:
    retention_days: float = setting(number(0, CENTURY_DAYS, above=True), 400)


@dataclass(frozen=True)
class Responses:
    store: bool = setting(boolean, True)
    retention_hours: float = setting(number(0, 24 * CENTURY_DAYS, above=True), 24)


@dataclass(frozen=True)
class Upstream:
    """`timeouts` are the global ones with the upstream's own laid over them."""

    name: str = setting(checks.name)
    base_url: str = setting(addresses.base_url)
    api_key: str = setting(checks.secret, "", repr=False)
    endpoints: tuple = setting(checks.endpoints, ("chat", "embeddings"))
    stream: bool = setting(boolean, True)
    stateful: bool = setting(boolean, False)
    discover: bool = setting(boolean, False)
    headers: dict = setting(checks.headers, dict, repr=False)
    proxy: str = setting(addresses.proxy, "", repr=False)
    ca_file: str = setting(checks.ca_file, "")
    max_in_flight: int = setting(whole(0, 1_000_000), 0)
    timeouts: Timeouts = setting(Overrides(Timeouts, CLIENT_TIMEOUTS), Timeouts)


@dataclass(frozen=True)
class Target:
    """One upstream of a model. A `*` that ends `model` stands for what the wildcard id matched."""

    upstream: str = setting(checks.text, key="name")
    model: str = setting(checks.model_or_none, "")
    weight: float = setting(number(0, 1_000_000), 1)
    priority: int = setting(whole(0, 1_000_000), 0)


@dataclass(frozen=True)
class Price:
    """USD per million tokens; `cached_input` is as much as `input` if left out.

    `rates` are the nano-USD of input, cached input and output.
    """

    input: float = setting(number(0, 1_000_000))
    cached_input: float | None = setting(number(0, 1_000_000), None)
    output: float = setting(number(0, 1_000_000), 0)

    def __post_init__(self):
        if self.cached_input is None:
            object.__setattr__(self, "cached_input", self.input)

    @cached_property
    def rates(self):
        return prices.rates(self.input, self.cached_input, self.output)


@dataclass(frozen=True)
class Model:
    id: str = setting(checks.model)
    targets: tuple = setting(Tables(Target), key="upstreams")
    fallbacks: tuple = setting(checks.models, ())
    price: Price | None = setting(Table(Price), None)

    @property
    def wildcard(self):
        return self.id.endswith("*")

    def matches(self, asked):
        """Tell whether a client that asks for `asked` means this model; a `*` is never empty."""
        return matches(self.id, asked)


@dataclass(frozen=True)
class LocalModel:
    """The model that the gateway itself serves; without a path it is the bundled one."""

    path: str | None = None

    @property
    def chat_id(self):
        return Path(self.path).stem.lower() if self.path else BUNDLED_MODEL

    @property
    def embed_id(self):
        return f"{self.chat_id}-embed" if self.path else BUNDLED_EMBED_MODEL


@dataclass(frozen=True)
class Settings:
    """All settings. `upstreams` and `models` are dicts by name and id, in the order of the file.

    `path` is the file they came from, or None; `local_model` is set only in the built-in default.
    `state` is the folder for what this machine's processes share or keep beside the database.
    `workers` is how many processes the environment asks for, or None.
    """

    path: Path | None = None
    state: Path = Path("var")
    server: Server = setting(Table(Server), Server)
    timeouts: Timeouts = setting(Table(Timeouts), Timeouts)
    retry: Retry = setting(Table(Retry), Retry)
    jobs: Jobs = setting(Table(Jobs), Jobs)
    usage: Usage = setting(Table(Usage), Usage)
    responses: Responses = setting(Table(Responses), Responses)
    upstreams: dict = setting(Tables(Upstream), dict, key="upstream")
    models: dict = setting(Tables(Model), dict, key="model")
    api_keys: tuple = field(default=(), repr=False)
    local_model: LocalModel | None = None
    workers: int | None = None

    def with_local_model(self, chat_url, embed_url):
        """Return settings that offer the local model at the two base URLs of its servers."""
        chat = Upstream("local", chat_url.rstrip("/"), endpoints=("chat", "responses"))
        embed = Upstream("local-embed", embed_url.rstrip("/"), endpoints=("embeddings",))
        ids = self.local_model.chat_id, self.local_model.embed_id
        pairs = tuple(zip(ids, (chat, embed), strict=True))
        return replace(
            self,
            upstreams={up.name: replace(up, timeouts=self.timeouts) for _, up in pairs},
            models={id: Model(id, (Target(up.name, id),)) for id, up in pairs},
        )
