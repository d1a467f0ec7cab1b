"""``sync_rules.yaml``: what the operator says of where images go."""
