"""Models of texts: discriminator, domain score, importance, vectors, clusters, calibration.

Start in `discriminator.py`. May import the signals, the kernels and the teacher; knows no ledger.
"""
