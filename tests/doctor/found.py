"""What the tests of the doctor say of findings."""

from gateway.doctor.finding import OK


def levels(found):
    return [one.level for one in found]


def worst(found):
    """Return the findings that are not fine, as {name: (level, message)}."""
    return {one.name: (one.level, one.message) for one in found if one.level != OK}
