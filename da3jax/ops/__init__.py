"""Functions of arrays that the network is made of: attention, position embeddings, resampling."""
