"""Where content lives, and how it travels: stores and the one verb between them, copy."""
