"""Actions: what can be done to a training set or a trained model because of influence, one file each.

An action names trainings (:class:`Attempt`), which are planned, computed and kept like all others; what came of them is
SQL over the tables ``actions`` and ``training_scores``.
"""
