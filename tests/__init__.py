"""Tests: flat files, one for each module or path through the product."""

import os

# Tiny networks: more threads only wait for each other, and forever after a fork.
# Read when torch is first imported, in servers under test too.
os.environ["OMP_NUM_THREADS"] = "1"
