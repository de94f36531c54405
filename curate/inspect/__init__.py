"""Questions to a finished run: why, sample, what-if, compare, and documents of each domain.

Start in `documents.py`. May import everything but report, pipeline and cli.
"""
