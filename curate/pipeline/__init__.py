"""A run: plan, reuse, run, index; its forecast, written documents and evaluation.

Start in `run.py`. May import all but inspect, report, init, api and cli.
"""
