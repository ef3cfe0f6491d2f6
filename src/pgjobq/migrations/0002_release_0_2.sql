-- From version 1 to version 2: what schema.sql has gained since, in the same words. Safe while workers of version 1 run:
-- nothing they read or call changes its name, its columns or its meaning.

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA pgjobq FROM PUBLIC;
