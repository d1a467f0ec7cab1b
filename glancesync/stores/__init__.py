"""How the stores of regions are reached, as the operator wrote it down."""
