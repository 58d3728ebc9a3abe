"""Small weights that come with the package (float16 safetensors, each with its card inside)."""
