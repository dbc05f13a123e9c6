"""RGB video: decoding, frame sampling, transforms, batch mixing and decoded stores.

A clip is uint8 (T, H, W, 3), RGB.
"""
