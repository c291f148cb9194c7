"""The Responses API's shapes, pure: no I/O, no web framework."""
