-- The tables of version 1, as SQLite has them.
CREATE TABLE accounts (
    id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    key_hash VARCHAR,
    created_at FLOAT NOT NULL,
    deleted_at FLOAT,
    PRIMARY KEY (id),
    UNIQUE (name),
    UNIQUE (key_hash)
);
CREATE TABLE meta (
    name VARCHAR NOT NULL,
    value VARCHAR NOT NULL,
    PRIMARY KEY (name)
);
CREATE TABLE workers (
    id VARCHAR NOT NULL,
    model JSON NOT NULL,
    started_at FLOAT NOT NULL,
    seen_at FLOAT NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE characters (
    id VARCHAR NOT NULL,
    account_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    media VARCHAR NOT NULL,
    created_at FLOAT NOT NULL,
    deleted_at FLOAT,
    PRIMARY KEY (id),
    FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE INDEX ix_characters_account_id ON characters (account_id);
CREATE TABLE follows (
    account_id VARCHAR NOT NULL,
    followed_id VARCHAR NOT NULL,
    created_at FLOAT NOT NULL,
    PRIMARY KEY (account_id, followed_id),
    FOREIGN KEY(account_id) REFERENCES accounts (id),
    FOREIGN KEY(followed_id) REFERENCES accounts (id)
);
CREATE TABLE jobs (
    number INTEGER NOT NULL,
    id VARCHAR NOT NULL,
    account_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    progress INTEGER NOT NULL,
    model VARCHAR NOT NULL,
    prompt VARCHAR NOT NULL,
    seconds VARCHAR NOT NULL,
    size VARCHAR NOT NULL,
    request JSON NOT NULL,
    batch_key VARCHAR NOT NULL,
    parent_id VARCHAR,
    error JSON,
    owner VARCHAR,
    lease_until FLOAT,
    attempts INTEGER NOT NULL,
    created_at FLOAT NOT NULL,
    started_at FLOAT,
    completed_at FLOAT,
    deleted_at FLOAT,
    PRIMARY KEY (number),
    UNIQUE (id),
    FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE INDEX jobs_by_account ON jobs (account_id, number);
CREATE INDEX jobs_by_status ON jobs (status, number);
CREATE TABLE clips (
    id VARCHAR NOT NULL,
    account_id VARCHAR NOT NULL,
    folder VARCHAR NOT NULL,
    format JSON NOT NULL,
    seconds FLOAT NOT NULL,
    provenance JSON NOT NULL,
    verdict JSON NOT NULL,
    notes JSON NOT NULL,
    created_at FLOAT NOT NULL,
    expires_at FLOAT NOT NULL,
    deleted_at FLOAT,
    PRIMARY KEY (id),
    FOREIGN KEY(id) REFERENCES jobs (id),
    FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE INDEX ix_clips_account_id ON clips (account_id);
CREATE TABLE grants (
    character_id VARCHAR NOT NULL,
    audience VARCHAR NOT NULL,
    created_at FLOAT NOT NULL,
    PRIMARY KEY (character_id, audience),
    FOREIGN KEY(character_id) REFERENCES characters (id)
);
CREATE TABLE posts (
    id VARCHAR NOT NULL,
    account_id VARCHAR NOT NULL,
    clip_id VARCHAR NOT NULL,
    title VARCHAR NOT NULL,
    created_at FLOAT NOT NULL,
    deleted_at FLOAT,
    PRIMARY KEY (id),
    FOREIGN KEY(account_id) REFERENCES accounts (id),
    FOREIGN KEY(clip_id) REFERENCES clips (id)
);
CREATE INDEX ix_posts_account_id ON posts (account_id);
