"""The types and files that every other package uses. Imports no other part of limner but its errors."""
