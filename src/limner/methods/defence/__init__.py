"""Methods that defend against personalisation."""
