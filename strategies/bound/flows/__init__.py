"""What sessions and links could carry if data were a fluid: the linear programs of the bound."""
