"""Buckets beyond reading and writing: listings, rules, probes, uploads, other remotes."""
