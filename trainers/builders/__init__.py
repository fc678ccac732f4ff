"""Puts models together out of a vision tower, a connector and a language model.

What comes out is an ordinary transformers model with its processor; saved, it is a directory
that `from_pretrained` and `AutoProcessor` load. Importing this package loads nothing heavy.
"""
