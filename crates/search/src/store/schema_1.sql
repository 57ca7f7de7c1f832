-- Folders that are indexed.
CREATE TABLE collections (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL,
    mask TEXT NOT NULL,
    ignore TEXT NOT NULL DEFAULT '[]',      -- patterns, a JSON array
    included INTEGER NOT NULL DEFAULT 1,    -- searched unless others are named
    gitignore INTEGER NOT NULL DEFAULT 1,   -- .gitignore files are followed
    model TEXT,                             -- the embedding model; NULL: the command's
    updated_at INTEGER                      -- the last scan, Unix seconds
);
-- What a user says about parts of the collections; without a collection, about all of them.
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY,
    collection_id INTEGER REFERENCES collections(id) ON DELETE CASCADE,
    prefix TEXT NOT NULL,                   -- whole segments of a path, without slashes at its ends; '': all of it
    text TEXT NOT NULL
);
CREATE UNIQUE INDEX contexts_place ON contexts(ifnull(collection_id, 0), prefix);
-- Texts, each once, whatever the number of files that have it.
CREATE TABLE contents (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,              -- SHA-256 of the text, hexadecimal
    text TEXT NOT NULL
);
-- Files.
CREATE TABLE documents (
    id INTEGER PRIMARY KEY,
    collection_id INTEGER NOT NULL REFERENCES collections(id) ON DELETE CASCADE,
    path TEXT NOT NULL,                     -- below the collection's, with '/'
    title TEXT NOT NULL,
    content_id INTEGER NOT NULL REFERENCES contents(id),
    size INTEGER NOT NULL,                  -- bytes of the file
    modified_ns INTEGER NOT NULL,           -- time of its last change, Unix nanoseconds
    read_ns INTEGER NOT NULL,               -- when it was read
    active INTEGER NOT NULL DEFAULT 1,      -- 0: the file is gone
    UNIQUE (collection_id, path)
);
CREATE INDEX documents_content ON documents(content_id, active);
-- Words of the active documents; rowid is that of `documents`. Texts are kept in `contents` only.
CREATE VIRTUAL TABLE documents_fts USING fts5(
    path, title, body, content = '', contentless_delete = 1, tokenize = 'porter unicode61 remove_diacritics 2'
);
-- Embedding models, each with the vector that told it from others.
CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    signature TEXT NOT NULL,                -- what its vectors depend on, as far as its settings tell
    probe BLOB NOT NULL,                    -- the vector of a fixed text, f32
    dim INTEGER NOT NULL,
    background_mean REAL NOT NULL,          -- cosines of unrelated texts
    background_deviation REAL NOT NULL
);
-- Contents that have been cut into chunks for a model.
CREATE TABLE chunked (
    content_id INTEGER NOT NULL REFERENCES contents(id) ON DELETE CASCADE,
    model_id INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE,
    PRIMARY KEY (content_id, model_id)
) WITHOUT ROWID;
-- Vectors by what was embedded: an edit embeds the chunks that it changed, and no others.
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY,
    model_id INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE,
    input_hash BLOB NOT NULL,               -- the first 16 bytes of SHA-256 of heading and text
    codes BLOB,                             -- a scale, f32, and a signed byte a component; NULL: not embedded yet
    UNIQUE (model_id, input_hash)
);
CREATE INDEX vectors_missing ON vectors(model_id) WHERE codes IS NULL;
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY,
    model_id INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE,
    content_id INTEGER NOT NULL REFERENCES contents(id) ON DELETE CASCADE,
    vector_id INTEGER NOT NULL REFERENCES vectors(id),
    start INTEGER NOT NULL,                 -- bytes in the text
    end INTEGER NOT NULL,
    line INTEGER NOT NULL,                  -- of its start, from 1
    heading TEXT NOT NULL                   -- headings that it is under, joined with ' > '
);
CREATE INDEX chunks_content ON chunks(content_id);
CREATE INDEX chunks_vector ON chunks(vector_id);
-- Single values: `generation` counts the changes of vectors and documents.
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO settings VALUES ('generation', '0');
