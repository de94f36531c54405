"""Good texts made bad, with labels by construction: one theme a file.

Start in `registry.py`; an attack is a function below `@attack`. Knows no ledger.
"""
