"""What is in no line of the code: statements made of values, keys compared, code made of data."""

import ast
import re
import shlex

import pytest
from packaging.requirements import Requirement

from tests.serving import ROOT

FILES = sorted((ROOT / "gateway").rglob("*.py"))
TREES = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in FILES}
STATEMENTS = {
    "execute", "exec_driver_sql", "executemany", "executescript", "scalar", "scalars", "text",
    "literal_column", "DDL",
}  # fmt: skip
SQL = re.compile(
    r"\s*(select|insert|update|delete|with|pragma|create|drop|alter|lock|truncate|attach|vacuum"
    r"|set|begin|where|values|order by)\b",
    re.IGNORECASE,
)
CONSTANT = {
    "gateway/engines.py",
    "gateway/migrations/versions/0005_usage_cost.py",
    "gateway/usage/writing.py",
}
FORBIDDEN = {"eval", "exec", "compile", "__import__", "render_template_string"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
MODULES = {"pickle", "marshal", "shelve", "dill", "yaml", "jsonpickle", "code", "codeop"}


def calls(tree):
    """Yield (name, call) of every call in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", getattr(node.func, "id", None)), node


def put_together(node):
    """Tell whether an expression makes its text out of values."""
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Mod | ast.Add)
    called = node.func if isinstance(node, ast.Call) else None
    return getattr(called, "attr", None) in ("format", "format_map", "join", "replace")


def first_text(node):
    """Return the first piece of text in an expression."""
    texts = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
    return next((text for text in texts if isinstance(text, str)), "")


def given_names(tree):
    """Return the expressions that a file gives to each of its names."""
    found = {}
    for node in ast.walk(tree):
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            if isinstance(target, ast.Name) and isinstance(getattr(node, "value", None), ast.expr):
                found.setdefault(target.id, []).append(node.value)
    return found


def statements_of_values(tree):
    """Yield what is run, or reads like SQL, and is put together."""
    names = given_names(tree)
    for name, call in calls(tree):
        if name in STATEMENTS and call.args:
            ran = call.args[0]
            told = names.get(ran.id, []) if isinstance(ran, ast.Name) else [ran]
            yield from (found for found in told if put_together(found))
    for node in ast.walk(tree):
        if put_together(node) and SQL.match(first_text(node)):
            yield node


def test_no_statement_is_put_together_from_values():
    found = {
        path: {ast.unparse(node)[:30] for node in statements_of_values(tree)}
        for path, tree in TREES.items()
        if "sqlalchemy" in (source := (ROOT / path).read_text()) or "sqlite3" in source
    }
    # The pragmas, what a migration adds up by `key` and by `model`, and the columns of usage with
    # as many marks as there are rows: all constants.
    found = {path: nodes for path, nodes in found.items() if nodes}
    assert set(found) == CONSTANT, found
    assert found["gateway/engines.py"] == {"f'PRAGMA {pragma}'"}
    written = TREES["gateway/usage/writing.py"]
    constants = {name for name in given_names(written) if name.isupper()}
    values = {
        name.id
        for node in statements_of_values(written)
        for part in ast.walk(node)
        if isinstance(part, ast.FormattedValue)
        for name in ast.walk(part)
        if isinstance(name, ast.Name)
    }
    helpers = {node.name for node in ast.walk(written) if isinstance(node, ast.FunctionDef)}
    assert values - constants - helpers - {"COLUMNS", "COUNTS"} == {"places"}, values


@pytest.mark.parametrize(
    "code",
    [
        "c.execute(f'select * from keys where id = {id}')",
        "query = f'x {id}'\nc.execute(query)",
        "c.execute(sa.text('select 1 where id = %s' % id))",
        "query = 'select ' + id",
        "c.exec_driver_sql('delete from {}'.format(name))",
        "sa.text(name.join(['a']))",
    ],
)
def test_statement_of_values_would_be_found(code):
    assert list(statements_of_values(ast.parse(code)))


def test_nothing_that_runs_what_it_reads_is_in_the_code():
    for path, tree in TREES.items():
        for name, call in calls(tree):
            bare = isinstance(call.func, ast.Name)
            assert not (bare and name in FORBIDDEN), (path, call.lineno)
            assert ast.unparse(call.func) not in SHELLS, (path, call.lineno)
            assert name not in ("render_template_string", "from_string"), (path, call.lineno)
            assert "shell" not in {word.arg for word in call.keywords}, (path, call.lineno)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name.partition(".")[0] for alias in node.names}
                names.add((getattr(node, "module", None) or "").partition(".")[0])
                assert not names & MODULES, (path, node.lineno)


def test_modules_are_loaded_by_names_that_the_code_holds():
    """The commands are loaded when they are called, from a table; nothing else is by its name."""
    found = {
        path for path, tree in TREES.items() for name, _ in calls(tree) if name == "import_module"
    }
    assert found == {"gateway/cli/__init__.py"}


def test_templates_are_escaped_and_there_is_one():
    made = [
        (path, call)
        for path, tree in TREES.items()
        for name, call in calls(tree)
        if name in ("Environment", "Template", "render_template")
    ]
    assert [path for path, _ in made] == ["gateway/description/page.py"]
    escaped = [word.value.value for word in made[0][1].keywords if word.arg == "autoescape"]
    assert escaped == [True]


SECRET = re.compile(r"(^|_)(secret|token|hash|hashed|digest|bearer|password)$")


def test_no_secret_is_compared_with_another():
    found = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Compare):
                continue
            sides = [node.left, *node.comparators]
            names = {getattr(side, "attr", getattr(side, "id", "")) for side in sides}
            equal = any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)
            if path.startswith(("gateway/doctor/", "gateway/mock/")):
                continue  # the first knows of tokens of a file alone, the second of no keys
            if equal and any(map(SECRET.search, names)):
                found.append((path, ast.unparse(node)))
    assert found == []


def locked(path):
    """Return the requirements of a lock file, each on one line, with its hashes."""
    text = re.sub(r"\\\n", " ", path.read_text())
    return [line.strip() for line in text.splitlines() if line.strip() and line[0] not in "# "]


LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_package_is_pinned_with_its_hashes(path):
    lines = locked(path)
    assert lines
    for line in lines:
        named, *hashes = line.split(" --hash=")
        specifiers = list(Requirement(named).specifier)
        assert [found.operator for found in specifiers] == ["=="], line
        assert "*" not in specifiers[0].version and Requirement(named).url is None, line
        assert hashes, line
        for found in hashes:
            assert re.fullmatch(r"sha256:[0-9a-f]{64}( +#.*)?\s*", found), line
    names = [re.split(r"[=\[; ]", line)[0].lower() for line in lines]
    assert names == sorted(names)


def commands():
    """Yield (file, words) of every command that installs packages."""
    places = [ROOT / "requirements/install", ROOT / "deploy/docker/Dockerfile", ROOT / "Makefile"]
    for path in [*places, *sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]:
        text = re.sub(r"\\\n", " ", path.read_text())
        for line in text.splitlines():
            if re.search(r"\bpip(_install|3?\s+(\S+\s+)*?install)\b", line) and "()" not in line:
                yield path.name, shlex.split(line.strip().strip("`"), comments=True)


def test_what_installs_a_lock_asks_for_its_hashes_and_nothing_beside_it():
    found = list(commands())
    assert {"install", "Dockerfile"} <= {name for name, _ in found}
    for name, words in found:
        if "-r" in words:
            assert "--require-hashes" in words, (name, words)
        else:
            # The gateway itself, whose dependencies are there already, or the shell's own function.
            assert "--no-deps" in words or words[0] == "pip_install" or "$@" in words, (name, words)
            assert "--no-build-isolation" in words or "$@" in words, (name, words)
    (function,) = re.findall(
        r"pip_install\(\) \{\n(.*?)\n\}", (ROOT / "requirements/install").read_text(), re.S
    )
    assert "--no-deps" in function
