"""Logs of other evaluation tools, one file per tool; read by harness/importing.py."""
