"""Recipes that train the models of the papers; each writes an ordinary transformers checkpoint."""
