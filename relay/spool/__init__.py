"""What a relay keeps on disk."""
