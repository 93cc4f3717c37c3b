"""Data sets: prepare/ makes columns of files, load/ makes batches of columns."""
