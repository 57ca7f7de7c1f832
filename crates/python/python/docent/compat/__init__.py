"""The interfaces of other libraries, on Docent's models: change an import, keep the program.

``docent.compat.fastembed``, ``docent.compat.llama_cpp`` and ``docent.compat.sentence_transformers`` each say what they offer and
what they refuse. Nothing here imports the library that it stands in for.
"""
