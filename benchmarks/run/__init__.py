"""What it costs to run notebooks as jobs, beside those who run them otherwise."""
