"""What a key may use: requests and tokens a minute, calls at once, and money."""

from gateway.limits.budgets import Budgets
from gateway.limits.lenient import Lenient
from gateway.limits.tickets import NO_TICKET, Ticket


class Limits:
    """Gives each request of a limited key its ticket; one per process, opened after fork.

    `spent(key ids, since)` is what the usage table knows, {key id: nano-USD}. `loops` are its
    background.
    """

    def __init__(self, store, spent):
        self.store = Lenient(store)
        self.budgets = Budgets(self.store, spent)
        self.loops = (store, self.budgets)
        self.close = store.close

    def admitted(self, key):
        """Return a ticket for a request or job that has been counted, or is not to be."""
        return Ticket(key, self.store, self.budgets) if key.limited else NO_TICKET
