"""What things are. Imports nothing of limner but its errors."""
