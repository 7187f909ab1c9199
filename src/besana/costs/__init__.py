"""What the way costs: price book, plan, and the bill beside the plan."""
