"""Bodies that POST /v1/embeddings takes, and bodies that it refuses, and how."""

from tests.schemas.refusals import below, empty, long, missing, word, wrong

FORMS = "one of a string, array of strings, array of integers or array of arrays of integers"
FIRSTS = "one of a string, integer or array of integers"


def embed(input, **more):
    return {"model": "m", "input": input, **more}


GOOD_EMBEDDINGS = [
    embed("x"),
    embed(""),
    embed(["x", ""]),
    embed(["x"] * 2048),
    embed([1, 2, 3]),
    embed([[1], [2, 3]]),
    embed([[1] * 5000]),
    embed("x", encoding_format="base64", dimensions=1, user="u"),
    embed("x", encoding_format=None, dimensions=None, user=None),
    embed("x", input_type="query"),
]

BAD_EMBEDDINGS = [
    missing({"model": "m"}, "input"),
    missing({"model": "m", "messages": []}, "input"),
    wrong(embed(None), "input", FORMS, "null"),
    wrong(embed(5), "input", FORMS, "an integer"),
    wrong(embed({}), "input", FORMS, "an object"),
    wrong(embed([None]), "input[0]", FIRSTS, "null"),
    wrong(embed([1.5]), "input[0]", FIRSTS, "a decimal"),
    wrong(embed([True]), "input[0]", FIRSTS, "a boolean"),
    wrong(embed([{}]), "input[0]", FIRSTS, "an object"),
    wrong(embed(["x", 1]), "input[1]", "a string", "an integer"),
    wrong(embed([1, "x"]), "input[1]", "an integer", "a string"),
    wrong(embed([1, True]), "input[1]", "an integer", "a boolean"),
    wrong(embed([[1], 2]), "input[1]", "an array of integers", "an integer"),
    wrong(embed([[1], ["x"]]), "input[1][0]", "an integer", "a string"),
    wrong(embed([[[1]]]), "input[0][0]", "an integer", "an array"),
    wrong(embed([[], ["x"]]), "input[1][0]", "an integer", "a string"),
    wrong(embed("x", dimensions=[1]), "dimensions", "an integer", "an array"),
    wrong(embed("x", user=1), "user", "a string", "an integer"),
    word(embed("x", encoding_format="x"), "encoding_format", "x", "'float' and 'base64'"),
    empty(embed([]), "input"),
    empty(embed([[1], []]), "input[1]"),
    long(embed(["x"] * 2049), "input", "array", 2048, 2049),
    long(embed([1] * 2049), "input", "array", 2048, 2049),
    long(embed([[1]] * 2049), "input", "array", 2048, 2049),
    below(embed("x", dimensions=0), "dimensions", "integer", 1, 0),
]
