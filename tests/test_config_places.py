"""The line of a key is found wherever TOML lets it stand."""

import tomllib

import pytest

from gateway.config import places


def paths(value, path=()):
    """Yield the path of everything inside a parsed document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for step, part in inner:
        yield (*path, step)
        if isinstance(part, (dict, list)):
            yield from paths(part, (*path, step))


DOCUMENTS = [
    ("a = 1\n\n# b\nb = 2", {("a",): 1, ("b",): 4}),
    ("a = 1\r\nb = 2\r\n", {("b",): 2}),
    ("# = [\n[t] # [u]\n  a = '#' # ]\n", {("t",): 2, ("t", "a"): 3}),
    ("[a.b]\nc = 1\n[a]\nd = 1", {("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 2, ("a", "d"): 4}),
    ("a.b.c = 1\na . b . d = 1", {("a", "b"): 1, ("a", "b", "c"): 1, ("a", "b", "d"): 2}),
    ("[[x]]\na = 1\n[[x]]\na = 2", {("x",): 1, ("x", 0): 1, ("x", 1): 3, ("x", 1, "a"): 4}),
    ("[[x]]\n[x.t]\na = 1\n[[x]]\n[x.t]\na = 1", {("x", 0, "t", "a"): 3, ("x", 1, "t", "a"): 6}),
    (
        "[[x]]\n[[x.y]]\n[[x.y]]\na=1\n[[x]]\n[[x.y]]\na=1",
        {("x", 0, "y", 1): 3, ("x", 1, "y", 0): 6},
    ),
    ("[ a . 'b' ]\nc = 1", {("a", "b", "c"): 2}),
    ("[[ 'a' ]]\nc = 1", {("a", 0, "c"): 2}),
    ('"a.b" = 1\n\'c"d\' = 1\n"\\u0065\\"" = 1', {("a.b",): 1, ('c"d',): 2, ('e"',): 3}),
    ("'' = 1\n\"\".'' = 1".replace("'' = 1\n", ""), {("",): 1, ("", ""): 1}),
    ("a = [\n 1, # one ]\n\n 2,\n]\nb = 1", {("a", 0): 2, ("a", 1): 4, ("b",): 6}),
    ("a = [[1,\n2], [\n3]]\nb = 1", {("a", 0, 1): 2, ("a", 1): 2, ("a", 1, 0): 3, ("b",): 4}),
    ("a = { b = 1, c.d = [\n{ e = 1 }] }", {("a", "b"): 1, ("a", "c", "d", 0, "e"): 2}),
    ("a = [\n{ b = 1 },\n{ b = 2 },\n]", {("a", 1): 3, ("a", 1, "b"): 3}),
    ("a = {}\nb = []\nc = 1", {("c",): 3}),
    ('a = """\nb = 1\n[c]\n"""\nd = 1', {("d",): 5}),
    ('a = """x""y"\\"""""\nb = 1', {("b",): 2}),
    ("a = '''\n'b' = ''1\n'''''\nd = 1", {("d",): 4}),
    ('a = """\\\n  x \\\\"""\nb = """"""\nc = \'\'\'\'\'\'\nd = ""\ne = 1', {("e",): 6}),
    ('a = "\\"]}#," # "\nb = 1', {("b",): 2}),
    ("a = 'c:\\'\nb = 1", {("b",): 2}),
    ("a = [1979-05-27 07:32:00, 1e3, true]\nb = 07:32:00 # x\nc = 1", {("a", 2): 1, ("c",): 3}),
    ("a = { t = 1979-05-27 07:32:00Z}\nc = 1", {("c",): 2}),
]


@pytest.mark.parametrize("text, expected", DOCUMENTS)
def test_lines_are_right(text, expected):
    found = places.lines(text)
    assert {path: found.get(path) for path in expected} == expected


@pytest.mark.parametrize("text", [text for text, _ in DOCUMENTS])
def test_every_key_and_item_has_a_line_and_nothing_else_has(text):
    assert set(places.lines(text)) == set(paths(tomllib.loads(text)))
