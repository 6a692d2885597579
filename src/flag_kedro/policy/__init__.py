"""The language-model actor-critic and the bundle it is shipped as."""
