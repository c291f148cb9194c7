"""What breakers have seen, under names that the configuration bounds."""

from types import SimpleNamespace

import pytest

from gateway import config
from gateway.routing.catalogue import Catalogue
from gateway.routing.router import Router
from gateway.routing.states import States
from tests.routing.fakes import Upstream, model

NOW = 1000.0


def states(*models, discover=(), names="ab"):
    ups = {name: Upstream(name) for name in names}
    tables = {name: SimpleNamespace(name=name, discover=name in discover) for name in names}
    settings = SimpleNamespace(models={m.id: m for m in models}, upstreams=tables)
    catalogue = Catalogue(settings, ups)
    return States(Router(catalogue, config.Retry(), 15), catalogue)


def wildcard(id, *targets):
    return config.Model(id, tuple(config.Target(name, model) for name, model in targets))


def fail(found, upstream, model, times=3, at=NOW):
    for _ in range(times):
        found.router.breaker_of(upstream, model).fail(at)


def test_configured_upstreams_are_closed_before_the_first_call():
    found = states(model("m", "a", "b"), wildcard("w-*", ("a", "x-*")), discover="b")
    assert found.values(NOW) == {
        ("a", "m"): 0,
        ("b", "m"): 0,
        ("a", "w-*"): 0,
        ("b", "b:discovered"): 0,
    }


def test_breaker_is_told_as_1_open_and_half_of_that_once_a_probe_may_go_and_0_when_closed():
    found = states(model("m", "a"))
    fail(found, "a", "m", 2)
    assert found.values(NOW) == {("a", "m"): 0}
    fail(found, "a", "m", 1)
    assert found.values(NOW) == {("a", "m"): 1}
    assert found.values(NOW + 30) == {("a", "m"): 0.5}
    found.router.breaker_of("a", "m").succeed(NOW + 31)
    assert found.values(NOW + 31) == {("a", "m"): 0}


def test_alias_is_told_under_each_of_its_names():
    same = config.Model("other", (config.Target("a", "m"),))
    found = states(model("m", "a"), same)
    fail(found, "a", "m")
    assert found.values(NOW) == {("a", "m"): 1, ("a", "other"): 1}


def test_names_that_clients_make_up_collapse_into_the_wildcard_the_worst_counting():
    found = states(wildcard("w-*", ("a", "x-*"), ("b", "")))
    for number in range(50):
        found.router.breaker_of("a", f"x-{number}")
        fail(found, "b", f"w-{number}", number)
    assert found.values(NOW) == {("a", "w-*"): 0, ("b", "w-*"): 1}


@pytest.mark.parametrize(("offered", "label"), [(True, "a:discovered"), (False, "other")])
def test_listed_models_share_a_name_and_so_does_what_nobody_knows(offered, label):
    found = states(discover="a", names="a")
    if offered:
        found.catalogue.discovered["a"] = ["listed"]
        found.catalogue.merge()
    fail(found, "a", "listed")
    assert found.values(NOW)["a", label] == 1
    found.router.breaker_of("a", "listed").succeed(NOW)
    assert set(found.values(NOW).values()) == {0}  # told again, and not left as it was


def test_openings_are_counted_once_and_not_while_open():
    found = states(model("m", "a"))
    fail(found, "a", "m", 7)
    assert list(found.openings()) == [(("a", "m"), 1)]
    assert list(found.openings()) == []
    fail(found, "a", "m", 1, NOW + 40)  # the probe
    found.router.breaker_of("a", "m").limit(NOW + 100, 10)
    assert list(found.openings()) == [(("a", "m"), 2)]


def test_model_with_one_closed_breaker_is_no_trouble_and_with_none_it_is():
    found = states(model("m", "a", "b"))
    assert not found.degraded()
    fail(found, "a", "m")
    assert not found.degraded()
    fail(found, "b", "m")
    assert found.degraded()
    found.router.breaker_of("b", "m").succeed(NOW + 31)
    assert not found.degraded()


def test_fallback_that_works_is_enough():
    found = states(model("m", "a", fallbacks=("n", "nowhere")), model("n", "b"))
    fail(found, "a", "m")
    assert not found.degraded()
    fail(found, "b", "n")
    assert found.degraded()


def test_model_of_a_wildcard_counts_too():
    found = states(wildcard("w-*", ("a", "x-*"), ("b", "")))
    fail(found, "a", "x-1")
    assert not found.degraded()
    fail(found, "b", "w-1")
    assert found.degraded()


@pytest.mark.parametrize("fallbacks", [(), ("m",)])
def test_alias_beside_a_wildcard_that_is_as_long_is_no_model_of_it(fallbacks):
    alias = config.Model("alias", (config.Target("a", "gpt"),), fallbacks)
    found = states(alias, wildcard("gpt*", ("a", "")), model("m", "b"))
    fail(found, "a", "gpt")
    assert found.values(NOW) == {("a", "alias"): 1, ("a", "gpt*"): 0, ("b", "m"): 0}
    assert found.degraded() == (not fallbacks)


def test_model_whose_id_here_would_be_too_long_to_ask_for_is_no_trouble():
    found = states(wildcard("a-long-way-to-say-*", ("a", "x*")))
    fail(found, "a", "x" + "y" * 250)
    assert not found.degraded()


def test_looking_asks_no_upstream():
    found = states(model("m", "a", fallbacks=("nowhere",)), discover="b")
    found.catalogue.look = found.catalogue.refresh = None  # would raise
    fail(found, "a", "m")
    fail(found, "b", "gone")
    assert found.degraded() and found.values(NOW)
