-- Rows as version 0.1 wrote them (migration openscan.0003_nodes): what an upgrade must keep.
INSERT INTO openscan_token (id, kind, prefix, digest, label, forename, surname, mail, owner_id, webodm_project_id,
    limit_filesize_bytes, limit_photos, limit_part_bytes, credit_bytes, daily_bytes, refilled_on, refilled_at, created_at, last_used_at, revoked_at)
VALUES
    (1, 'private', 'abcdef', repeat('a', 64), '', 'Ada', 'Lovelace', 'ada@example.org', NULL, NULL, 2000000000, 2000, 200000000,
     850, 0, NULL, NULL, '2026-05-01 08:00+00', NULL, NULL),
    (2, 'public', 'ghijkl', repeat('b', 64), 'open day', '', '', '', NULL, NULL, 2000000000, 2000, 200000000,
     100, 100, '2026-05-02', '2026-05-02 00:00+00', '2026-05-01 08:00+00', NULL, NULL);

INSERT INTO openscan_scan (id, token_id, name, state, client_address, base_url, research_consent, photos, parts_count, declared_bytes,
    received_bytes, upload_nonce, links_expire_at, charge, held_bytes, posted_bytes, webodm_project_id, webodm_task_id, error, set_aside,
    images_count, ingest_attempts, finish_attempts, retry_at, moves, tried_nodes, node_notes, created_at, started_at, approved_at,
    released_at, finished_at, expired_at, reset_at, result_file, result_object, result_bytes, result_link, result_expires_at,
    result_source, processing_seconds)
VALUES
    (1, 1, 'done', 'done', '', '', FALSE, 10, 1, 100, 100, 'n1', '2026-05-01 12:00+00', 'posted', 0, 100, NULL, NULL, '', '', 10, 1, 0,
     NULL, 0, '', '', '2026-05-01 08:00+00', '2026-05-01 08:01+00', '2026-05-01 08:02+00', '2026-05-01 08:03+00', '2026-05-01 08:09+00',
     NULL, NULL, '1-0123456789abcdef.zip', '', 5, 'x', '2026-05-08 08:09+00', 's', 300),
    (2, 1, 'uploading', 'created', '', '', FALSE, 10, 3, 50, 30, 'n2', now() + interval '3 hours', 'held', 50, 0, NULL, NULL, '', '', 0,
     0, 0, NULL, 0, '', '', now(), NULL, NULL, NULL, NULL, NULL, NULL, '', '', 0, '', NULL, '', NULL),
    (3, 2, 'not uploaded', 'created', '198.51.100.7', '', TRUE, 10, 2, 40, 0, 'n3', now() + interval '3 hours', 'held', 40, 0, NULL,
     NULL, '', '', 0, 0, 0, NULL, 0, '', '', now() - interval '2 hours', NULL, NULL, NULL, NULL, NULL, NULL, '', '', 0, '', NULL, '', NULL),
    (4, 2, 'failed and reset', 'reset', '198.51.100.7', '', TRUE, 10, 1, 20, 0, 'n4', '2026-05-01 12:00+00', 'refunded', 0, 0, NULL,
     '00000000-0000-4000-8000-000000000004', 'Processing failed', '', 10, 1, 0, NULL, 0, '', '', '2026-05-01 08:00+00',
     '2026-05-01 08:01+00', '2026-05-01 08:02+00', '2026-05-01 08:03+00', '2026-05-01 08:09+00', NULL, '2026-05-01 09:00+00', '', '', 0,
     '', NULL, '', NULL),
    (5, 2, 'running', 'released', '198.51.100.8', '', TRUE, 10, 1, 30, 30, 'n5', '2026-05-01 12:00+00', 'posted', 0, 30, NULL,
     '00000000-0000-4000-8000-000000000005', '', '', 10, 1, 0, NULL, 0, '', '', '2026-05-01 08:00+00', '2026-05-01 08:01+00',
     '2026-05-01 08:02+00', '2026-05-01 08:03+00', NULL, NULL, NULL, '', '', 0, '', NULL, '', NULL);

INSERT INTO openscan_part (id, scan_id, number, size_bytes, file_name, received_at)
VALUES
    (1, 2, 1, 20, '1-0123456789abcdef.part', now()), (2, 2, 2, 10, '2-0123456789abcdef.part', now()), (3, 2, 3, NULL, '', NULL),
    (4, 3, 1, NULL, '', NULL), (5, 3, 2, NULL, '', NULL);

INSERT INTO openscan_ledgerentry (id, token_id, scan_id, kind, amount_bytes, balance_bytes, key, note, actor, created_at)
VALUES
    (1, 1, NULL, 'grant', 1000, 1000, 'grant:1', '', 'admin', '2026-05-01 08:00+00'),
    (2, 2, NULL, 'refill', 100, 100, 'refill:2:2026-05-01', '', '', '2026-05-01 08:00+00'),
    (3, 1, 1, 'hold', -100, 900, 'hold:1:1', '', '', '2026-05-01 08:00+00'),
    (4, 1, 1, 'post', 0, 900, 'post:1', '', '', '2026-05-01 08:02+00'),
    (5, 2, 4, 'hold', -20, 80, 'hold:4:1', '', '', '2026-05-01 08:00+00'),
    (6, 2, 4, 'post', 0, 80, 'post:4', '', '', '2026-05-01 08:02+00'),
    (7, 2, 4, 'refund', 20, 100, 'refund:4', '', '', '2026-05-01 08:09+00'),
    (8, 2, 5, 'hold', -30, 70, 'hold:5:1', '', '', '2026-05-01 08:00+00'),
    (9, 2, 5, 'post', 0, 70, 'post:5', '', '', '2026-05-01 08:02+00'),
    (10, 2, 3, 'hold', -40, 30, 'hold:3:1', '', '', '2026-05-01 20:00+00'),
    (11, 2, NULL, 'refill', 70, 100, 'refill:2:2026-05-02', '', '', '2026-05-02 00:00+00'),
    (12, 1, 2, 'hold', -20, 880, 'hold:2:1', '', '', '2026-05-02 08:00+00'),
    (13, 1, 2, 'hold', -30, 850, 'hold:2:2', '', '', '2026-05-02 08:01+00');

SELECT setval(pg_get_serial_sequence('openscan_' || name, 'id'), 100)
FROM unnest(ARRAY['token', 'scan', 'part', 'ledgerentry']) AS name;
