"""Strings that have broken software: each is somebody's name, prompt or id, and nothing else."""

CONTROLS = [
    "\x00", "a\x00b", "\x01\x02\x03\x04\x05\x06\x07\x08", "\x0b\x0c\x0e\x0f", "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07", "\x7f", "\x80\x85\x9f", "\r\n", "a\nb", "a\rb", "\t", " ", "   ",
    " leading and trailing ", "a\r\nSet-Cookie: a=b", "a\n{\"level\": \"error\"}",
    "a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
]  # fmt: skip
UNICODE = [
    "é", "e\u0301", "ß", "İı", "ﬀﬁ", "ΑΒΓ", "Ωμέγα", "русский", "日本語", "한국어", "العربية",
    "עברית", "ไทย", "हिन्दी", "𝒳𝔜", "🙂", "👩‍👩‍👧‍👦", "🇩🇪🇯🇵", "👍🏽", "💩" * 50,
    "\u202egnirts\u202c", "\u2066a\u2069", "\u200b", "\u200f", "\u2028", "\u2029", "\u00a0",
    "\u3000", "\ufeff", "\ufffd", "\ufffe", "\uffff", "\U0010ffff", "\ue000", "\u00ad",
    "Z\u0335\u0321a\u0336\u030bl\u0337\u0346g\u0338\u0312o\u0334\u0303" * 5, "a" + "\u0301" * 500,
    "\u0660\u0661\u0662", "１２３", "½", "①", "＜script＞", "ªº", "\u1160", "\u180e",
]  # fmt: skip
INJECTIONS = [
    "' OR '1'='1", "'; DROP TABLE keys; --", "1; SELECT pg_sleep(9)", "\" OR \"\"=\"", "') --",
    "admin'/*", "%' AND 1=1 --", "\\'; --", "x' UNION SELECT hash FROM keys --", "$1", ":of_key",
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "javascript:alert(1)",
    "<!-- ", "]]>", "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]>",
    "{{7*7}}", "{{config}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{% raw %}", "${jndi:ldap://x/y}",
    "%s%s%s%n", "%d", "%(message)s", "{0}", "{", "}", "{request_id}", "{0.__class__}", "%%",
    "$(id)", "`id`", "; ls", "| cat /etc/passwd", "&& true", "$HOME", "${GATEWAY_API_KEYS}",
    "__import__('os').system('id')", "!!python/object/apply:os.system [id]", "*)(uid=*", "(" * 100,
    "eval(1)", "=cmd|' /C calc'!A0", "@SUM(1)", "-1+1", "\\u0000", "\\x00", "\\", "\\\\", "\"", "'",
]  # fmt: skip
PATHS = [
    "../../etc/passwd", "..", ".", "/", "//", "/etc/passwd", "..\\..\\x", "%2e%2e%2f", "%00", "%",
    "%zz", "file:///etc/passwd", "http://127.0.0.1:1/", "//elsewhere.example/", "CON", "a/b/c",
    "?a=b", "#x", ";x", "a&b=c", "~root", "*", "gpt-*", "a,b",
]  # fmt: skip
WORDS = [
    "null", "None", "nil", "undefined", "true", "False", "NaN", "Infinity", "-0", "0", "1e400",
    "0x7f", "1_000", "-1", "99999999999999999999", "1.7976931348623157e309", "1/0", "[object]",
    "constructor", "__proto__", "hasOwnProperty", "toString", "", "a" * 300, "x" * 5000,
    "data: [DONE]\n\n", "event: error", ": ping", "id: 1\n", "[DONE]", "<|end|>", "<|im_end|>",
    "Bearer x", "sk-", "job_", "resp_" + "0" * 32, "req_" + "f" * 32,
]  # fmt: skip
NAUGHTY = [*CONTROLS, *UNICODE, *INJECTIONS, *PATHS, *WORDS]
