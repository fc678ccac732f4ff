"""Readers of run folders: tables and pages. Nothing here runs a model or a task."""
