"""How far what the wire counts is from the provider's bill: real clients, cut at random, against a stand-in."""
