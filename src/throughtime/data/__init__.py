"""Corpora, tokenizers and the two ways of batching: a stream in columns, and pairs in buckets."""
