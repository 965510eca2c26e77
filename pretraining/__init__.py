"""How the embedded models are made: a world's language as a corpus, the training on it, the marks, the card.

Not in the wheel, which ships the weights. ``python -m pretraining`` makes the folder in ``data/models/world``.
"""
