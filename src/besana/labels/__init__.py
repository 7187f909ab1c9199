"""What people say about samples: events, the current label, agreement, and file formats."""
