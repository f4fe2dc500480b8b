"""What travels: manifests, frames, identities, and the gRPC service that carries them."""
