"""The only code that knows the vendor's JSON and speaks to the vendor."""
