"""A registry as a store: distribution-spec v1.1 over requests, with oras's face on it."""
