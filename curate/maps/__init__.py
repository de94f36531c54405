"""The only code that reads texts in bulk: measure, reread, write shards.

Start in `measure.py`. May import the ledger, the corpus and the filters.
"""
