"""Evaluation by people: forms to fill in, answers read back, tables with majority and agreement."""
