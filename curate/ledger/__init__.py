"""What a run knows: parts, snapshot and journal, their names, their SQL views, and a finished run opened.

Start in `ledger.py`. May import the corpus, the recipe and storage.
"""
