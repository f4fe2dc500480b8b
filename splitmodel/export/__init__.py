"""A trained model as files for anybody: what a run writes in the end, the same loaded again, and one ONNX file."""
