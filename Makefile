# SPDX-License-Identifier: MIT
# Thin names for the scripts, which are what the documentation and CI use.
.PHONY: demo test build bench format lint
demo test build bench format lint:
	@scripts/$@
