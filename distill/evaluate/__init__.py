"""What a selection retains: proxies trained on arms, measured on held-out texts, against a random control.

Start in `measure.py`. May import the maps, the scoring and the ledger.
"""
