"""Duplicates: exact ones, near ones, repeated lines, and what earlier runs kept.

Start in `near/stage.py`. May import the ledger, the maps and the filters.
"""
