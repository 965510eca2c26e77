"""Bases: the models before fine-tuning."""
