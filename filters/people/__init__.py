"""Who a text is about and how it is written: mentions of groups of people, and register. Lists, and signals of them.

Start in `signals.py`. May import the registry and the kernels.
"""
