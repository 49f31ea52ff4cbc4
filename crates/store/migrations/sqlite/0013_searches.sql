-- An index for searches in resources, brought up behind what comes in. It describes stretches of the list, each
-- of consecutive rows: which of them hold a text of one, two or three characters, or belong to an account, ….

-- How far an organisation's stretches reach. Whoever writes resources shares it, whoever adds a stretch holds it.
CREATE TABLE resource_searches (
    org_id TEXT NOT NULL REFERENCES organisations (id),
    last_number BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    ends_with TEXT NOT NULL,
    PRIMARY KEY (org_id)
);

-- From behind one row to another one. It is described where `built` is what `touched` is, which grows with every
-- row in it that came late or is called otherwise.
CREATE TABLE resource_stretches (
    org_id TEXT NOT NULL REFERENCES organisations (id),
    number BIGINT NOT NULL,
    begins_at BIGINT NOT NULL,
    begins_after TEXT NOT NULL,
    ends_at BIGINT NOT NULL,
    ends_with TEXT NOT NULL,
    entries BIGINT NOT NULL,
    touched BIGINT NOT NULL,
    built BIGINT NOT NULL,
    PRIMARY KEY (org_id, number)
);
CREATE INDEX resource_stretches_ends ON resource_stretches (org_id, ends_at, ends_with);

-- What describes a stretch, by the token's bucket.
CREATE TABLE resource_postings (
    org_id TEXT NOT NULL,
    stretch BIGINT NOT NULL,
    bucket BIGINT NOT NULL,
    postings BLOB NOT NULL,
    PRIMARY KEY (org_id, stretch, bucket),
    FOREIGN KEY (org_id, stretch) REFERENCES resource_stretches (org_id, number) ON DELETE CASCADE
);
