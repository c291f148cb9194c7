"""`python -m gateway.cli`, for a checkout that is not installed."""

from gateway.cli import main

main(prog_name="gateway")
