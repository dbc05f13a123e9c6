"""SkeletonCLIP on real Kinect joints: UI-PRMD."""
