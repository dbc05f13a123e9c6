"""SmolLM2 watches adl-mini: projectors trained over a real frozen language model."""
