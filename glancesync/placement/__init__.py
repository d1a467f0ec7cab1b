"""Which regions an image goes to. Pure: facts in, names out."""
