"""A report of the gate for people and for machines; every file is one format.

What a report holds was partly written by models, data sets and paths: each format escapes all of
it, and none trusts a name.
"""
