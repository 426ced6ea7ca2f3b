"""From data files to a checkpoint folder."""
