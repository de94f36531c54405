"""Duplicates: exact ones, near ones, repeated lines, and documents that earlier runs kept.

Start in `exact.py`, then `near/stage.py`. May import the maps, the filters, the ledger, and what comes before them.
"""
