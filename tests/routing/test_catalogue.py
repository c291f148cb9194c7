"""Which models there are, and where their calls go."""

import logging
import threading
from types import SimpleNamespace

import pytest

from gateway import config, errors
from gateway.routing.catalogue import AGAIN, REFRESH, Catalogue
from tests.routing.fakes import Clock


class Lister:
    """An upstream that lists models; an error in their place is raised."""

    def __init__(self, name, *models):
        self.name, self.listed, self.asked = name, list(models), 0

    def models(self):
        self.asked += 1
        if self.listed and isinstance(self.listed[0], BaseException):
            raise self.listed[0]
        return self.listed


def model(id, *targets, fallbacks=()):
    return config.Model(id, tuple(config.Target(*target) for target in targets), fallbacks)


def catalogue(*models, discovering=(), others=("a", "b"), clock=None):
    upstreams = {name: SimpleNamespace(name=name) for name in others}
    upstreams.update((lister.name, lister) for lister in discovering)
    tables = {
        name: SimpleNamespace(name=name, discover=isinstance(upstream, Lister))
        for name, upstream in upstreams.items()
    }
    settings = SimpleNamespace(models={m.id: m for m in models}, upstreams=tables)
    return Catalogue(settings, upstreams, clock or Clock())


def place(route):
    return [(target.upstream.name, target.model) for target in route.targets]


@pytest.mark.parametrize(
    "asked, found",
    [
        ("exact", [("a", "exact")]),
        ("alias", [("a", "other-name"), ("b", "alias")]),
        ("openai/gpt-5", [("a", "gpt-5")]),
        ("openai/ft/mine", [("b", "mine")]),  # the longest wildcard wins
        ("openai/special", [("a", "special-one")]),  # an exact id wins over any of them
        ("up/x", [("a", "vendor/x")]),
        ("fixed/anything", [("a", "the-one")]),
        ("zzz", [("b", "zzz")]),
        ("openai/", [("b", "openai/")]),  # a * stands for something
        ("openai/*", [("a", "*")]),
        ("*", [("b", "*")]),
    ],
)
def test_exact_before_wildcards_and_the_longest_of_them_first(asked, found):
    models = [
        model("*", ("b", "*")),
        model("openai/*", ("a", "*")),
        model("openai/ft/*", ("b", "*")),
        model("openai/special", ("a", "special-one")),
        model("up/*", ("a", "vendor/*")),
        model("fixed/*", ("a", "the-one")),
        model("exact", ("a", "exact")),
        model("alias", ("a", "other-name"), ("b", "alias")),
    ]
    route = catalogue(*models).find(asked)
    assert (route.model, place(route)) == (asked, found)


def test_discovered_model_comes_between_exact_ids_and_wildcards():
    lister = Lister("c", "both", "m/listed")
    found = catalogue(model("both", ("a", "x")), model("m/*", ("b", "*")), discovering=[lister])
    found.refresh()
    assert place(found.find("both")) == [("a", "x")]
    assert place(found.find("m/listed")) == [("c", "m/listed")]
    assert place(found.find("m/other")) == [("b", "other")]


def test_discovered_model_is_called_as_a_wildcard_says_that_names_its_upstream():
    price = config.Price(1, 1, 4)
    wild = config.Model("m/*", (config.Target("c", "*"),), ("other",), price)
    found = catalogue(wild, model("*", ("b", "*")), discovering=[Lister("c", "m/one", "else")])
    before = found.find("m/one")
    found.refresh()
    assert found.find("m/one") == before and found.all()[1] == before
    assert (place(before), before.fallbacks) == ([("c", "one")], ("other",))  # as before a listing
    assert [target.price for target in before.targets] == [price]
    assert place(found.find("else")) == [("c", "else")]


@pytest.mark.parametrize("asked", ["x" * 257, "a\nb", "a\x00", "a\u202eb", "\ud800", "a\x7f"])
def test_id_that_no_header_could_hold_is_not_found(asked):
    found = catalogue(model("*", ("a", "*")), discovering=[Lister("c", asked, "fine")])
    with pytest.raises(errors.ModelNotFound) as caught:
        found.find(asked)
    assert len(caught.value.message) < 300
    found.refresh()
    assert [route.model for route in found.all()] == ["fine"]
    with pytest.raises(errors.ModelNotFound):
        found.find(asked)


def test_longest_id_is_found():
    assert place(catalogue(model("*", ("a", "*"))).find("x" * 256)) == [("a", "x" * 256)]


def test_unknown_model_is_not_found():
    with pytest.raises(errors.ModelNotFound, match="`nope` does not exist"):
        catalogue(model("known", ("a", "known"))).find("nope")


def test_labels_come_from_the_configuration_alone():
    found = catalogue(
        model("m", ("a", "m")), model("w/*", ("a", "*")), discovering=[Lister("c", "d")]
    )
    labels = [found.find(asked).label for asked in ("m", "w/whatever", "d")]
    assert labels == ["m", "w/*", "c:discovered"]


def test_weights_priorities_and_fallbacks_are_kept():
    found = catalogue(model("m", ("a", "m", 3, 0), ("b", "m", 1, 7), fallbacks=("n",))).find("m")
    assert [(target.weight, target.priority) for target in found.targets] == [(3, 0), (1, 7)]
    assert found.fallbacks == ("n",)


def test_first_use_asks_the_upstreams():
    lister = Lister("c", "d")
    assert place(catalogue(discovering=[lister]).find("d")) == [("c", "d")]
    lister = Lister("c", "e", "d")
    assert [route.model for route in catalogue(discovering=[lister]).all()] == ["d", "e"]


def test_configured_model_needs_no_listing():
    lister = Lister("c", errors.UpstreamUnreachable())
    catalogue(model("m", ("a", "m")), discovering=[lister]).find("m")
    assert lister.asked == 0


def test_listing_that_failed_is_said_where_the_model_may_be_in_it():
    bad = Lister("c", errors.UpstreamUnreachable())
    found = catalogue(model("m", ("a", "m")), discovering=[bad, Lister("d", "listed")])
    with pytest.raises(errors.UpstreamUnreachable):
        found.find("x")
    assert place(found.find("listed")) == [("d", "listed")]
    assert [route.model for route in found.all()] == ["listed", "m"]


def test_model_that_all_upstreams_have_not_listed_is_not_found():
    found = catalogue(discovering=[Lister("c", "x"), Lister("d")])
    with pytest.raises(errors.ModelNotFound):
        found.find("y")


def test_unknown_models_do_not_ask_again_and_again():
    clock, bad = Clock(), Lister("c", errors.UpstreamUnreachable())
    found = catalogue(discovering=[bad], clock=clock)
    for _ in range(50):
        with pytest.raises(errors.UpstreamUnreachable):
            found.find("x")
    assert bad.asked == 1

    bad.listed = ["x"]
    clock.now += AGAIN + 1
    assert place(found.find("x")) == [("c", "x")]


def test_once_all_have_listed_unknown_models_ask_nobody():
    clock, lister = Clock(), Lister("c", "x")
    found = catalogue(discovering=[lister], clock=clock)
    for _ in range(3):
        clock.now += 100
        with pytest.raises(errors.ModelNotFound):
            found.find("y")
    assert lister.asked == 1


def test_those_who_come_during_a_listing_share_it():
    entered, go, lister = threading.Event(), threading.Event(), Lister("c", "x")
    listed = lister.models

    def slow():
        entered.set()
        assert go.wait(5)
        return listed()

    lister.models = slow
    found, routes = catalogue(discovering=[lister]), []
    callers = [threading.Thread(target=lambda: routes.append(found.find("x"))) for _ in range(8)]
    callers[0].start()
    assert entered.wait(5)
    for caller in callers[1:]:
        caller.start()
    go.set()
    for caller in callers:
        caller.join(5)
    assert len(routes) == 8
    assert lister.asked <= 2  # a thread that the scheduler held back until afterwards may ask again


def test_refresh_keeps_the_last_good_list():
    lister = Lister("c", "x")
    found = catalogue(discovering=[lister])
    found.refresh()
    lister.listed = [errors.UpstreamUnreachable()]
    found.refresh()
    assert place(found.find("x")) == [("c", "x")]
    with pytest.raises(errors.ModelNotFound):
        found.find("y")

    lister.listed = ["y"]
    found.refresh()
    assert [route.model for route in found.all()] == ["y"]
    assert found.failed == {}


def test_failure_is_logged_once(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gateway"), "propagate", True)
    lister = Lister("c", errors.UpstreamUnreachable())
    found = catalogue(discovering=[lister])
    for _ in range(3):
        found.refresh()
    assert [r.message for r in caplog.records] == [
        "models of c could not be listed: upstream_unreachable"
    ]


def test_error_that_is_raised_again_and_again_does_not_grow():
    found = catalogue(discovering=[Lister("c", errors.UpstreamUnreachable())])
    for _ in range(20):
        with pytest.raises(errors.UpstreamUnreachable) as caught:
            found.find("x")
    frames, step = 0, caught.value.__traceback__
    while step is not None:
        frames, step = frames + 1, step.tb_next
    assert frames < 5


def test_model_that_two_upstreams_list_is_offered_over_both():
    found = catalogue(discovering=[Lister("c", "x"), Lister("d", "x", "y")])
    found.refresh()
    assert place(found.find("x")) == [("c", "x"), ("d", "x")]
    assert [route.model for route in found.all()] == ["x", "y"]
    assert place(found.all()[0]) == [("c", "x"), ("d", "x")]


def test_background_looks_often_only_while_an_upstream_does_not_answer():
    lister, waits = Lister("c", errors.UpstreamUnreachable()), []
    found = catalogue(discovering=[lister])

    class Stop:
        def wait(self, seconds):
            waits.append(seconds)
            lister.listed = ["x"]
            return len(waits) == 3

    found.run(Stop())
    assert waits == [AGAIN, REFRESH, REFRESH]
    assert lister.asked == 3


def test_background_outlives_what_nobody_expects(caplog):
    lister = Lister("c", "x")
    found = catalogue(discovering=[lister])
    faults = [RuntimeError("odd")]
    found.merge = lambda: faults and (_ for _ in ()).throw(faults.pop())
    found.run(SimpleNamespace(wait=lambda seconds: lister.asked == 2))
    assert lister.asked == 2
    assert caplog.messages == ["what upstreams offer could not be listed"]


def test_background_without_discovery_ends_at_once():
    catalogue(model("m", ("a", "m"))).run(None)
