"""What a training looked like: `report.html` of a checkpoint, and two checkpoints side by side."""
