"""What a selection retains: models trained on arms and asked about held-out texts, beside random controls.

Start in `measure.py`. May import the scoring, the maps, and what comes before them.
"""
