"""Estimators: everything that fills the influence table, one file each; :mod:`einfluence.arms` registers them."""
