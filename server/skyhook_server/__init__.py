"""The service side of skyhook_casa."""
