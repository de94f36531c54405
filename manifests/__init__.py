"""Evidence for the trainers: the manifest, its checks, and exports."""
