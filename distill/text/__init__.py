"""Parsing of texts: sentences, chunks, names, quantities, facts, phrases.

Start in `chunks.py`. May import kernels and filters; knows no ledger.
"""
