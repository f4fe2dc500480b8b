"""Contact plans and elements as files, ours and those of other software."""
