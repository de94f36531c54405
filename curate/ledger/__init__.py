"""What a run knows: parts, snapshot, journal, their SQL views, and a finished run opened.

Start in `ledger.py`; `names.py` has the names of part groups, stages and folders. May import the corpus and what comes
before it.
"""
