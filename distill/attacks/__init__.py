"""Good texts made bad, labelled by construction: one theme a file.

Start in `registry.py`; an attack is a function below `@attack`. May import text and teacher; knows no ledger.
"""
