"""Queries of a finished run: why, sample, what-if, compare, and domains.

Start in `documents.py`. May import everything but report, pipeline and cli.
"""
