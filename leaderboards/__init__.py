"""Readers of many run folders: ranked boards."""
