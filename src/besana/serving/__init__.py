"""Serving: exported models behind HTTP and on devices, watched and swapped while they run."""
