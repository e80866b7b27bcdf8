"""Quantization after training: a float network, some pictures and a recipe in, a QDQ network out."""
