"""Times of matrix products, learned from measured ones; all else by the roofline."""
