import pytest

from gateway.limits.durations import written


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-1, "0s"),
        (0.12, "120ms"),
        (0.0001, "1ms"),
        (0.9991, "1s"),
        (1, "1s"),
        (7.66, "7.66s"),
        (1.0001, "1.001s"),
        (20, "20s"),
        (59.9999, "1m0s"),
        (60, "1m0s"),
        (86.4, "1m26.4s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
        (3661.5, "1h1m1.5s"),
        (86400, "24h0m0s"),
    ],
)
def test_times_are_written_as_openai_writes_them_and_never_shorter_than_they_are(seconds, text):
    assert written(seconds) == text
