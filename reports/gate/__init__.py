"""The release gate: is the candidate worse than what was blessed, and is that proven either way."""
