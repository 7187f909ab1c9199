"""A farm with known truth: barns and fields for the demo and for tests, ours and users'."""
