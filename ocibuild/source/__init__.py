"""Sources and what is made of them: Dockerfiles."""
