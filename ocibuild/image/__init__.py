"""What an image is: plans, the shapes a program can be shipped in, and their assembly into a store."""
