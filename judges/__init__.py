"""Rules that turn an answer into a score; shared by every task that uses the same rule."""
