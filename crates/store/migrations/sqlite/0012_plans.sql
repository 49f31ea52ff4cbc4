-- A registration that comes again is found without reading the agents of its organisation in their order.
DROP INDEX agents_token;
CREATE INDEX agents_token ON agents (org_id, token_id, statement_sha256, registered_at, id);
