"""Methods for actions, relations and other meanings."""
