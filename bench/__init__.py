"""Benchmarks of skyhook_casa beside what users would pick instead; see README.md."""
