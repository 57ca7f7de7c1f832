-- Other ways of asking that models have written, by the hash of model and query; the newest thousand.
CREATE TABLE expansions (
    id INTEGER PRIMARY KEY,                 -- grows, so that the lowest is the oldest
    key BLOB NOT NULL UNIQUE,               -- the first 16 bytes of SHA-256
    lines TEXT NOT NULL                     -- JSON: [{"kind": "lex", "text": "..."}, ...]
);
