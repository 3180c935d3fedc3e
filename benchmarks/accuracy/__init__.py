"""How far what is counted is from the provider's bill: real AgentSessions, cut at random, against the stand-in."""
