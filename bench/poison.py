"""Bodies that are made to keep a worker busy, and the status that each of them gets.

The models are `gpt-test`, which there is, and `nope`, which there is not.
"""

PIECES = 250_000  # commas and opening brackets that a body may hold


def around(fields):
    start = b'{"model": "gpt-test", "messages": [{"role": "user", "content": "x"}], '
    return start + fields + b"}"


def saying(messages, model=b"gpt-test"):
    return b'{"model":"%b","messages":[%b]}' % (model, messages)


def many(item, count):
    return b",".join([item] * count)


def keys(count, value=b"1"):
    return b",".join(b'"%d":%b' % (number, value) for number in range(count))


def nested(depth):
    return b'{"a":' * depth + b"1" + b"}" * depth


def patterned(pattern):
    """Ask for an answer that a regular expression describes."""
    schema = b'{"type":"object","properties":{"a":{"type":"string","pattern":"%b"}}}' % pattern
    form = b'{"type":"json_schema","json_schema":{"name":"a","strict":true,"schema":%b}}' % schema
    said = b"a" * 100_000 + b"!"
    return around(b'"response_format":%b,"user":"%b"' % (form, said))


TOOL = b'{"type":"function","function":{"name":"f","parameters":{}}}'
GOOD = b'{"role":"user","content":"x"}'
# Those that say "most" hold as many PIECES as a body may.
POISON = {
    "500,000 empty messages": (saying(many(b"{}", 500_000)), 400),
    "most empty messages": (saying(many(b"{}", PIECES // 2 - 9)), 400),
    "80,000 good messages": (saying(many(GOOD, 80_000), b"nope"), 404),
    "1 M integers": (saying(many(b"1", 1_000_000)), 400),
    "most integers": (saying(many(b"1", PIECES - 9)), 400),
    "200,000 unknown keys": (around(keys(200_000)).replace(b"gpt-test", b"nope"), 404),
    "3,000 objects, 400 deep": (around(b'"x":[%b]' % many(nested(400), 3000)), 400),
    "1,600 objects, 150 deep": (around(b'"n":"x","x":[%b]' % many(nested(150), 1600)), 400),
    "a string of 10 MB": (around(b'"n":"x","x":"%b"' % (b"x" * 10_000_000)), 400),
    "a string of 500,000 escapes": (around(b'"n":"x","x":"%b"' % (b"\\u00e9" * 500_000)), 400),
    "10,000 tools": (around(b'"n":"x","tools":[%b]' % many(TOOL, 10_000)), 400),
    "1 M entries of `logit_bias`": (around(b'"logit_bias":{%b}' % keys(1_000_000)), 400),
    "most entries of `logit_bias`": (around(b'"n":"x","logit_bias":{%b}' % keys(PIECES - 99)), 400),
    "400,000 digits": (around(b'"x":%b' % (b"7" * 400_000)), 400),
    "19 MB of white space": (around(b'"n":"x"').ljust(19_000_000), 400),
    "19 MB of commas": (b"," * 19_000_000, 400),
    # Nobody here runs it: it is the upstream's to refuse.
    "a pattern that backtracks for ever": (patterned(b"^(a+)+$"), 200),
}
