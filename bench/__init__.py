"""The benchmark: the gateway beside nginx, Flask and other gateways; `python -m bench --help`."""
