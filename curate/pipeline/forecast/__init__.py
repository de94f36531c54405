"""`curate plan`: what a run would read, reuse, drop and cost, by trying it on a sample.

Start in `forecast.py`. May import the run itself.
"""
