"""The plain frozen values that rooms exchange."""
