"""Ways to reach a model, one file each: `make(address, **options)` builds it."""
