"""One module per noun; a handler takes a ``Call`` and returns status and body."""
