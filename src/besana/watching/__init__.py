"""Watch what cameras show, tell what a change costs, and train anew when that is due."""
