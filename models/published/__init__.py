"""Published checkpoints under the names of their authors, and ours: what each tensor is called, and how files are read safely."""
