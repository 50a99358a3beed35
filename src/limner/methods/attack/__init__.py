"""Methods that attack personalisation."""
