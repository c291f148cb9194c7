# `make run` and `make test` do everything from a clean clone; Python 3.11 or newer is all they need.
.NOTPARALLEL:
.PHONY: help run test live bench bench-peers soak lint format lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' Makefile

run: ## serve a small local model through the gateway
	@requirements/install run
	@exec .venv/bin/gateway serve

test: ## run the fast tests
	@requirements/install test
	.venv/bin/python -m pytest -m "not live"

live: ## run the tests that start real servers and a real model
	@requirements/install test
	.venv/bin/python -m pytest -m live

bench: ## measure the gateway beside nginx, Flask and other gateways
	@requirements/install bench
	.venv/bin/python -m bench $(BENCH)

bench-peers: ## install the other gateways that bench compares with
	@bench/peers

soak: ## ten minutes of mixed load on a gateway that is reloaded and killed
	@requirements/install bench
	.venv/bin/python -m bench.soak $(SOAK)

lint: ## check style
	@requirements/install test
	.venv/bin/ruff check
	.venv/bin/ruff format --check

format: ## put style right
	@requirements/install test
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

lock: ## pin the newest versions of all dependencies
	@requirements/install test
	PYTHON=../.venv/bin/python requirements/lock

clean: ## remove what was installed and built, but not var/
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
