"""The labelling page driven in a browser: filming, timing and soaking it."""
