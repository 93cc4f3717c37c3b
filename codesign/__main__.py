"""`python -m codesign` is the same as `codesign`."""

from codesign.cli import main

main()
