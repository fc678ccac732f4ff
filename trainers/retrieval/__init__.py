"""REACT's retrieval: pairs of a web-sized pool that look or read like a task's classes.

Liu et al. 2023 (arXiv:2301.07094), section 3.1. In the order of the work: pool.py reads shards,
embed.py keeps their vectors, index.py makes graphs of them, search.py asks, select.py and dedupe.py
choose, write.py writes what training reads. Every stage can be killed and started again, and then
ends with the same bytes. docs/trainers/react-retrieve.md has the formats.
"""
