"""Code that the families of bases share."""
