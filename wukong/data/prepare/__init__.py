"""From files and a description of their columns to prepared data, in pieces of bounded size."""
