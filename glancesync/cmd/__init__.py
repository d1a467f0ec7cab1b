"""The programs. Eventlet is patched in ``sync``, and only there."""
