"""One file per benchmark or training format, found by its name; each has `write(world, folder)`."""
