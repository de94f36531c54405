"""Models of texts: discriminator, domain score, importance, vectors, clusters, calibration.

Start in `discriminator.py`. Knows no ledger.
"""
