"""Sites in front of us, by what `nginx -T` says."""

from dataclasses import replace

import pytest

from gateway import config
from gateway.doctor import nginx
from gateway.doctor.finding import OK, PROBLEM, WARNING
from tests.doctor.found import levels, worst
from tests.serving import ROOT

SITE = (ROOT / "deploy/nginx/gateway.conf").read_text()


def site(**changes):
    """Return what `nginx -T` says of the site in deploy/, with directives changed or left out."""
    text = SITE
    for name, value in changes.items():
        lines = [line for line in text.splitlines() if not line.split()[:1] == [name]]
        text = "\n".join(lines)
        if value is not None:
            text = text.replace("proxy_pass  ", f"{name} {value};\n        proxy_pass  ")
    main = "events {}\nhttp {\n  # a comment { with ; signs\n  include conf.d/*.conf;\n}\n"
    return (
        f"nginx: the configuration file /etc/nginx/nginx.conf syntax is ok\n"
        f"# configuration file /etc/nginx/nginx.conf:\n{main}\n"
        f"# configuration file /etc/nginx/conf.d/gateway.conf:\n{text}\n"
    )


def test_our_own_site_is_right(settings, told):
    told((0, site()))
    settings = replace(settings, timeouts=config.Timeouts(), server=config.Server())
    found = list(nginx.check(settings))
    assert len(found) == 4 and set(levels(found)) == {OK}
    assert found[0].name == "nginx gateway.example.com /"


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"proxy_buffering": None}, WARNING, "proxy_buffering is on"),
        ({"proxy_buffering": "on"}, WARNING, "proxy_buffering is on"),
        ({"proxy_read_timeout": None}, PROBLEM, "proxy_read_timeout is 60 s"),
        ({"proxy_read_timeout": "9m 50s"}, PROBLEM, "proxy_read_timeout is 590 s"),
        ({"proxy_read_timeout": "1h"}, OK, ""),
        ({"client_max_body_size": None}, WARNING, "client_max_body_size is 1m"),
        ({"client_max_body_size": "0"}, OK, ""),
        ({"client_max_body_size": "1G"}, OK, ""),
        ({"proxy_http_version": None}, WARNING, "proxy_http_version is 1.0"),
        ({"underscores_in_headers": "on"}, WARNING, "underscores_in_headers is on"),
        ({"proxy_next_upstream": "error non_idempotent"}, PROBLEM, "paid, twice"),
    ],
)
def test_site_that_would_hold_back_cut_or_repeat_is_told(settings, told, changes, level, words):
    told((0, site(**changes)))
    settings = replace(settings, timeouts=config.Timeouts(), server=config.Server())
    found = worst(nginx.check(settings))
    assert [one[0] for one in found.values()] == ([level] if level != OK else [])
    assert all(words in message for _, message in found.values())


@pytest.mark.parametrize(
    ("passed", "bind", "leads"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("http://localhost:8000/", "127.0.0.1:8000", True),
        ("http://127.0.0.1:8000/v1", "0.0.0.0:8000", True),
        ("http://127.0.0.1:80001", "127.0.0.1:8000", False),
        ("http://10.0.0.1:8000", "127.0.0.1:8000", False),
        ("http://unix:/run/gw.sock:/v1", "unix:/run/gw.sock", True),
        ("http://unix:/run/gw.sock", "unix:/run/gw.sock", True),
        ("http://unix:/run/other.sock", "unix:/run/gw.sock", False),
        ("http://named", "127.0.0.1:8000", False),
    ],
)
def test_site_is_ours_by_where_it_leads(passed, bind, leads):
    text = f"http {{ server {{ location / {{ proxy_pass {passed}; }}}}}}"
    text = f"# configuration file /n.conf:\n{text}"
    assert bool(list(nginx.proxying(nginx.read(text), bind))) == leads


def test_settings_of_nginx_are_inherited_and_a_quote_hides_its_signs():
    text = (
        "# configuration file /n.conf:\n"
        "http { proxy_buffering off; log_format x '{;}'; upstream up { server 127.0.0.1:8000; }\n"
        'server { server_name "a b"; client_max_body_size 5m; location /a { proxy_pass http://up;'
        " location /a/b { proxy_buffering on; proxy_pass http://up; } location /c { deny all; }}}}"
    )
    found = list(nginx.proxying(nginx.read(text), "127.0.0.1:8000"))
    assert [name for name, _ in found] == ["a b /a", "a b /a/b"]
    assert [values["proxy_buffering"] for _, values in found] == ["off", "on"]
    assert {values["client_max_body_size"] for _, values in found} == {"5m"}


@pytest.mark.parametrize(
    ("answer", "level", "words"),
    [
        (None, OK, "Not installed."),
        ((0, "# configuration file /n.conf:\nhttp { }\n"), OK, "No site"),
        ((1, "nginx: [emerg] bad\n"), WARNING, "cannot be read: nginx: [emerg] bad"),
        ((1, ""), WARNING, "no word"),
    ],
)
def test_no_nginx_no_trouble(settings, told, answer, level, words):
    told(answer)
    (found,) = nginx.check(settings)
    assert found.level == level and words in found.message
