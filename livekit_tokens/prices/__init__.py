"""The price book: which card holds for a provider, a model and a time. Nothing here touches the network."""
