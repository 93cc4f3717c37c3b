"""One model trained by many processes."""
