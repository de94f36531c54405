"""What a run knows: parts, snapshot and journal, their SQL views, and finished runs.

Start in `ledger.py`; `names.py` has the names of part groups, stages and folders. May import `curate.corpus` and the
packages before it.
"""
