"""Every skeleton-language model on real skeletons: UI-PRMD, HDM05 and Bandai-Namco set 2."""
