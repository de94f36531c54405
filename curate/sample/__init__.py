"""A small corpus with known labels, for `curate demo` and for tests: README.md says what it holds."""
