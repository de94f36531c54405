"""Near duplicates by MinHash: candidates by bands, pairs verified by whole texts, the best copy survives.

Start in `stage.py`. `maps.py` has what reads signatures; `best_copies.py` orders the copies of a cluster.
"""
