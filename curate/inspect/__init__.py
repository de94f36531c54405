"""Questions to a finished run: why, sample, what-if, compare.

Start in `documents.py`. May import all but report, init, api and cli.
"""
