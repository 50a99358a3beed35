"""What the families of bases share."""
