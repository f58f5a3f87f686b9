"""The model: frames become vectors.

The network in torch, its checkpoint and export, the weights that ship, and the
encoder that runs them in ONNX Runtime (or in torch) over a stream of frames.
"""
