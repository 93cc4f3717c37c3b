"""What a person sees of a study: one self-contained page, and tables for a terminal."""
