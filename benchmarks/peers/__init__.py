"""The other ways to serve the same checkpoint, each in its best honest setting with one torch thread."""
