"""What `benchmarks/serving.py` is made of: a load generator, drains, a peer."""
