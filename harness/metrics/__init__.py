"""Kinds of metrics that a few tasks need; harness/stats.py has the common ones and names all."""
