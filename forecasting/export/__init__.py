"""Fitted networks as ONNX graphs, written node by node with onnx.helper."""
