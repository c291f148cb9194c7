"""The layers of the package, as data: an import may only point to a lower one."""

import ast
import pathlib

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "gateway"

LAYERS = [
    ["aside", "errors", "heads", "idling", "key", "metric_files", "periods", "prices"],
    [
        "binding",
        "config",
        "draining",
        "metrics",
        "gate",
        "reloading",
        "sse",
        "tokens",
        "watch",
        "workers",
    ],
    ["tables", "engines", "failures", "polling", "sweeping"],
    ["migrations"],
    ["database", "key_rows"],
    [
        "schemas",
        "translate",
        "local_model",
        "model_keeper",
        "mock",
        "logs",
        "banner",
        "answer",
        "incoming",
        "listener",
        "pacing",
    ],
    ["description"],
    ["keys", "limits", "stored", "upstreams", "usage"],
    ["recordings", "routing", "turns"],
    ["exchange", "gauges"],
    ["idempotency", "jobs"],
    ["services"],
    ["doctor", "endpoints", "gunicorn_worker"],
    ["server"],
    ["cli"],
    ["__init__", "wsgi", "gunicorn_conf"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
GEVENT = {"aside", "database", "gunicorn_conf", "gunicorn_worker", "server", "upstreams/transport"}
GEVENT |= {"cli/worker", "incoming", "listener", "pacing", "watch"}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix().removesuffix(".py"), ast.parse(path.read_text())


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def top(name):
    return name.split("/")[0]


def test_every_module_has_a_layer():
    assert {top(name) for name, _ in modules()} - set(LEVEL) == set()


def test_no_import_points_up():
    wrong = []
    for name, tree in modules():
        for imported in imports(tree):
            parts = imported.split(".")
            if parts[0] != "gateway" or len(parts) < 2:
                continue
            other = parts[1] if parts[1] in LEVEL else "__init__"
            if other != top(name) and LEVEL[other] >= LEVEL[top(name)]:
                wrong.append(f"{name} imports {imported}")
    allowed = {"wsgi imports gateway.create_app", "wsgi imports gateway.server"}
    assert [w for w in wrong if w not in allowed] == []


def test_gevent_is_named_in_few_places():
    naming = {
        name
        for name, tree in modules()
        if any(imported.split(".")[0] == "gevent" for imported in imports(tree))
    }
    assert {n for n in naming if n not in GEVENT and n.rpartition("/")[0] not in GEVENT} == set()
