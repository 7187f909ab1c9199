"""One module a contender; see `work.Contender`."""
