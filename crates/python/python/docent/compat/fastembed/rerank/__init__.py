"""Reranking; see :mod:`docent.compat.fastembed.rerank.cross_encoder`."""
