"""The scene world: rendered scenes with known contents, written in every benchmark's own format."""
