"""The nouns, the run loop, records, statistics, models and the command line."""

from harness._guard import check_siblings

check_siblings()
