"""Turn bytes into pixels and back: decoding, lenses and regions, bands, quality, hashes."""
