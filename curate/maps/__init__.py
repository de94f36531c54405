"""The maps that read texts in bulk: measure, reread, write shards; and texts of single documents.

Start in `measure.py`. May import the filters, the ledger, and what comes before them.
"""
