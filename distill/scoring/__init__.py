"""Models of texts: discriminator, likeness, grades, importance, vectors, clusters, calibration.

Start in `discriminator.py`. May import the signals, the kernels and the teacher; knows no ledger.
"""
