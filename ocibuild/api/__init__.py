"""The porcelain: one file a verb. What the command line can do, the library can do here; nothing is printed."""
