"""From artifacts and options to a plan: every decision about an image, and no I/O while deciding."""
