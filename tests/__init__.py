"""Tests: flat files, one for each module or path through the product."""
