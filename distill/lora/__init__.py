"""LoRA adapters of a domain: texts, model, training, files.

Start in `train.py`. May import the maps, the text package and the teacher.
"""
