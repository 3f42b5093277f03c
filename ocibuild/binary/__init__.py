"""What is this file? Bytes in, facts out."""
