"""From a checkpoint folder to an HTTP service."""
