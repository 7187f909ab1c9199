"""Numbers that tell the truth: groups, splits, intervals, metrics, timelines (numpy only)."""
