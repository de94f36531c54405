"""The maps that read texts in bulk: measure, reread, write shards; also texts of single documents.

Start in `measure.py`. May import `curate.filters`, `curate.ledger` and the packages before them.
"""
