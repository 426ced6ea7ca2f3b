"""What we claim, reproducible: every figure in a document comes from a script here."""
