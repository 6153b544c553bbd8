"""The vendor's API.

This room holds the only code that sends requests to the vendor and knows its JSON, its API key's
secret, and the names of its models and scenes. Any room above may call it.
"""
