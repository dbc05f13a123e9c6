"""C2VL on skeletons without video: captions told from the joints themselves."""
