"""Model families: what a folder must hold, how its weights are loaded, how a forward pass runs."""
