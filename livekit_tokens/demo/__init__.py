"""A call to look at: a stand-in provider with its own bill, a LiveKit server, a caller, an agent, a run of all."""
