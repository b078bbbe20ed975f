"""The core: Tensors that remember how they were made, and the walk back that differentiates them.

Read in this order: `tensor`, `node`, `primitive`, `vector_space`, `engine`; then `check` (is it right?), `modes`,
`errors`.
"""
