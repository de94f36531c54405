"""Runs: plan, reuse, stages in order, index; also the commands that work on a run: augment, evaluate, gc.

Start in `run.py`. `checks/` has early errors and warnings, `forecast/` is `curate plan`. May import everything but cli.
"""
