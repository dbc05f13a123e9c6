"""The main job on the embedded data set: from nothing to a model that names unseen actions."""
