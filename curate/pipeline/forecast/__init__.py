"""`curate plan`: forecast what a run would read, reuse, drop and cost, by a rehearsal on a sample.

Start in `forecast.py`. May import what the pipeline may, and the run itself.
"""
