"""Skeleton-language baselines on frozen features: SynSE, SMIE, STAR, and their protocols."""
