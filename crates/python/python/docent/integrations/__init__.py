"""Adapters for vector stores and frameworks, a module each: ``chromadb``, ``langchain``, ``llama_index``, ``haystack``.

A module imports the package it is for, and nothing imports the module but its user.
"""
