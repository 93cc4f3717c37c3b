"""The proposers: each module offers `Options` and `make(objectives, options) -> Proposer`.

A proposer holds nothing that matters between calls: what it proposes follows from the arguments
of `ask` alone, so a resumed study goes on as an unbroken one would.
"""
