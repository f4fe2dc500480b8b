"""What satellites take pictures of as they fly."""
