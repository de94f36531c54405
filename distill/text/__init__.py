"""Texts taken apart: sentences, chunks, names, quantities, facts, phrases.

Start in `chunks.py`. Knows no ledger.
"""
