"""Many images from one file: jobs on an executor, what is up to date by digest, and what was made before."""
