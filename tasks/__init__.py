"""Benchmarks, one file each: a file name is the registration, `make` builds the task."""
