"""What training code holds of the wire, over a relay or directly."""
