"""Methods for 3D, views and panoramas."""
