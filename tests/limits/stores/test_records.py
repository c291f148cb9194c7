"""Which boot a local store's file is of, and what becomes of it where nobody can tell."""

import pytest

from gateway.limits.stores import records
from gateway.limits.stores.local import Local

LONG = 10**6


@pytest.fixture
def another(tmp_path):
    made = []

    def make():
        made.append(Local(tmp_path / "limits"))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def boot(tmp_path, monkeypatch):
    """The file that names the boot; it is not there."""
    monkeypatch.setattr(records, "BOOT", str(tmp_path / "boot_id"))
    return tmp_path / "boot_id"


def test_file_of_this_boot_outlives_everybody_who_holds_it(another, boot):
    boot.write_text("one\n")
    first = another()
    first.hit("tpm:x", 10, LONG)
    first.close()
    assert another().look("tpm:x", 10, LONG).remaining == 9


def test_file_of_another_boot_is_not_opened(another, boot):
    boot.write_text("one\n")
    first = another()
    first.hit("tpm:x", 10, LONG)
    first.close()
    boot.write_text("two\n")
    assert another().look("tpm:x", 10, LONG).remaining == 10


def test_file_of_nobody_knows_which_boot_is_good_only_while_somebody_holds_it(another, boot):
    first, second = another(), another()
    first.hit("tpm:x", 10, LONG)
    second.hit("tpm:x", 10, LONG)
    first.close()
    assert another().look("tpm:x", 10, LONG).remaining == 8


def test_file_of_nobody_knows_which_boot_that_nobody_holds_is_begun_anew(another, boot, tmp_path):
    first = another()
    first.hit("tpm:x", 10, LONG)
    (holder,) = tmp_path.glob("limits/*/holders/*")
    first.close()
    holder.touch()  # somebody's who was killed
    assert another().look("tpm:x", 10, LONG).remaining == 10
