"""Which upstream answers."""
