"""Besana: from farm camera images to a classifier in production and the answers it gives."""
