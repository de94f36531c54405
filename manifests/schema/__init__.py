"""The types of manifest.json, and how one is read.

Start in `model.py`. May import the ledger and what comes before it.
"""
